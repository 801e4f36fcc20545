"""Trainings on a cluster of containers, of which something is stopped, killed, frozen, cut off, slowed or restarted.

However it goes, the bits are those of one machine that nothing happened to, and MLflow has one run, each epoch once.
Seconds are limits for a busy machine of two cores; what was run is on docs/deploy.md.
"""

import re
import time

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

NEW_GROUP = "a group of workers starts or continues"
NOTICED_SECONDS = 15.0  # from the notice until all workers have stopped after a checkpoint
BUSY_SECONDS = 30.0  # more on a machine that has other work
FOUND_SECONDS = 120.0  # until a node that is lost or silent is missed, and others train in its place
AWAY_SECONDS = 20.0


@pytest.fixture
def finish(training, undisturbed, tmp_path):
    def end_as_undisturbed(command) -> None:
        assert command.wait() == 0, command.output
        training.assert_as_undisturbed(undisturbed, tmp_path / "model")

    return end_as_undisturbed


def test_it_trains_what_one_machine_trains(training, finish, measure):
    started_seconds = time.monotonic()
    finish(training.start())
    measure("whole training", started_seconds)


@pytest.mark.parametrize("notice", ["drain", "stop"])
def test_a_node_that_is_to_go_is_left_after_a_checkpoint(training, finish, measure, notice):
    command = training.start_until(epoch=3)
    node = training.cluster.take_node_to_disturb()
    stopping = training.cluster.drain(node) if notice == "drain" else node.start_to_stop()
    since_seconds = time.monotonic()
    stopped = command.wait_for(r"workers were preempted and stopped after (step|epoch) (\d+)")
    left_seconds = time.monotonic() - since_seconds
    measure("until all workers have stopped after a checkpoint", since_seconds)
    continued = command.wait_for(r"the training continues from a checkpoint +step=(\d+)")
    assert stopped[1] == "epoch" or continued[1] == stopped[2]  # nothing is done again
    command.wait_for(r"epoch \d+/")
    measure("until the next epoch", since_seconds)
    assert left_seconds < NOTICED_SECONDS + BUSY_SECONDS
    finish(command)
    if stopping is not None:
        assert stopping.wait(120) == 0
        assert not node.is_running


def test_a_node_that_is_killed_is_replaced(training, finish, measure):
    command = training.start_until(epoch=3)
    training.cluster.take_node_to_disturb().kill()
    wait_for_others(command, measure, time.monotonic())
    finish(command)


def test_a_node_that_freezes_is_replaced_and_comes_back_without_harm(training, finish, measure):
    command = training.start_until(epoch=3)
    node = training.cluster.take_node_to_disturb()
    node.pause()
    try:
        wait_for_others(command, measure, time.monotonic())
    finally:
        node.unpause()
    finish(command)


@pytest.mark.parametrize("fault", ["killed", "cut off"])
def test_a_node_that_deals_out_its_share_of_the_rows_is_replaced(
    training_in_windows, undisturbed_in_windows, measure, tmp_path, fault
):
    command = training_in_windows.start_until(epoch=3)
    node = training_in_windows.cluster.take_node_to_disturb()
    assert node.find("/tmp", "-type", "d", "-name", "shards-*")
    assert not node.find("/tmp", "-path", "*/inputs/splits/*.parquet")  # it has no whole split
    network, since_seconds = node.network, time.monotonic()
    if fault == "killed":
        node.kill()
    else:
        network.cut("both ways")
    try:
        wait_for_others(command, measure, since_seconds)
    finally:
        if fault == "cut off":
            network.restore()
    assert command.wait() == 0, command.output
    training_in_windows.assert_as_undisturbed(undisturbed_in_windows, tmp_path / "model")


@pytest.mark.parametrize("direction", ["both ways", "incoming", "outgoing"])
def test_a_node_that_is_cut_off_is_replaced_and_comes_back_without_harm(training, finish, measure, direction):
    command = training.start_until(epoch=3)
    network = training.cluster.take_node_to_disturb().network
    network.cut(direction)
    try:
        wait_for_others(command, measure, time.monotonic())
    finally:
        network.restore()
    finish(command)


@pytest.mark.parametrize("fault", ["20 Mbit/s", "2 % lost"])
def test_a_bad_network_of_a_node_is_endured(training, finish, measure, fault):
    command = training.start_until(epoch=3)
    node = training.cluster.take_node_to_disturb()
    network, since_seconds = node.network, time.monotonic()
    if fault == "20 Mbit/s":
        network.slow(megabits_per_second=20)
    else:
        network.lose(0.02)
    try:
        command.wait_for("epoch 16/")
        measure("for 13 epochs", since_seconds)
    finally:
        network.restore()
    finish(command)
    assert command.output.count(NEW_GROUP) == 1  # it is no reason to start again


def test_s3_that_is_away_is_waited_for(training, finish, measure):
    command = training.start_until(epoch=3)
    network, since_seconds = training.cluster.nodes["s3"].network, time.monotonic()
    network.cut("both ways")
    time.sleep(AWAY_SECONDS)
    network.restore()
    finish(command)
    measure("until the end", since_seconds)


def test_mlflow_that_is_killed_gets_each_epoch_later(training, finish, measure):
    command, mlflow = training.start_until(epoch=3), training.cluster.nodes["mlflow"]
    since_seconds = time.monotonic()
    mlflow.kill()
    time.sleep(AWAY_SECONDS)
    mlflow.start()
    training.cluster.wait_for_mlflow()
    measure("until MLflow is back", since_seconds)
    finish(command)
    measure("until the end", since_seconds)


def test_a_head_that_is_killed_and_comes_back_is_followed_by_a_job_that_continues(training, finish, measure):
    command, head = training.start_until(epoch=3), training.cluster.nodes["head"]
    since_seconds = time.monotonic()
    head.kill()
    head.start()
    training.cluster.wait_for_head()
    measure("until the head is back", since_seconds)
    assert command.wait() == 75, command.output  # the job is lost with its head: the same command continues
    measure("until its end is reported", since_seconds)
    again = training.start()
    assert int(again.wait_for(r"the training continues from a checkpoint +step=(\d+)")[1]) > 0
    measure("until it continues", since_seconds)
    finish(again)
    measure("until the end", since_seconds)


def wait_for_others(command, measure, since_seconds: float) -> None:
    """Until another group of workers has trained an epoch."""
    command.wait_for(NEW_GROUP, seconds=FOUND_SECONDS + BUSY_SECONDS)
    measure("until another group starts", since_seconds)
    epoch = command.wait_for(r"epoch (\d+)/")
    measure("until the next epoch", since_seconds)
    assert int(epoch[1]) > 3
    assert not re.search("was lost more than", command.output)
