"""Training on a Ray cluster of several nodes, each a raylet of its own, some of which are lost and come back."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

LEFT_SECONDS = 15  # from the notice until the workers of that node have written a checkpoint and stopped
BUSY_SECONDS = 30  # more on a machine that has other work


class Cluster:
    """A head without cores, and nodes of one core each."""

    def __init__(self, nodes, port: int) -> None:
        self._nodes, self.address = nodes, f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        nodes.start(*head, f"--temp-dir={nodes.temporary}")

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._nodes.TOKEN}

    def add_node(self) -> psutil.Process:
        """Start a node and return its raylet."""
        return self._nodes.start(f"--address={self.address}", "--num-cpus=1")

    def drain(self, raylet: psutil.Process, *, deadline_seconds: int) -> None:
        """Let Ray know that a node goes soon, as an autoscaler or a cloud's notice does."""
        [node] = [option.partition("=")[2] for option in raylet.cmdline() if option.startswith("--node_id=")]
        command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", self.address]
        command += ["--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
        command += ["--deadline-remaining-seconds", str(deadline_seconds)]
        ended = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr


@pytest.fixture
def cluster(ray_nodes, free_ports):
    nodes = ray_nodes()
    yield Cluster(nodes, *free_ports(1))
    nodes.stop()


def test_a_lost_node_is_replaced_by_a_spare_one(undisturbed, disturbed, cluster, until_answered):
    nodes = [cluster.add_node() for _ in range(3)]
    process, output = disturbed.start_until("epoch 2/6", **cluster.environment)
    used = [node for node in nodes if any("RayTrainWorker" in " ".join(one.cmdline()) for one in node.children())]
    with until_answered():
        used[0].send_signal(signal.SIGKILL)
        output += disturbed.read_until(process, "a group of workers starts", "epoch ")
    output += process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.timeout(900)  # two trainings of sixty epochs
@pytest.mark.parametrize("notice", ["drain", "stop"])
def test_a_drained_node_is_left_after_a_checkpoint_and_the_failure_budget_stays(
    disturbed, tmp_path, cluster, until_answered, notice
):
    disturbed.change_train(epochs=60, global_batch_size=8)  # more than the notice takes
    undisturbed = disturbed.copy(tmp_path / "undisturbed")
    code, output = undisturbed.train()
    assert code == 0, output
    disturbed.change_train(max_failures=0)
    nodes = [cluster.add_node() for _ in range(3)]
    process, output = disturbed.start_until("epoch 2/60", **cluster.environment)
    used = [node for node in nodes if any("RayTrainWorker" in " ".join(one.cmdline()) for one in node.children())]
    if notice == "drain":
        cluster.drain(used[0], deadline_seconds=120)
    else:  # `docker stop`, and whatever else ends a pod: `ray start` gets the signal, and no worker does
        used[0].parent().terminate()
    drained_seconds = time.monotonic()
    with until_answered():
        output += disturbed.read_until(process, "workers were preempted and stopped after")
    assert time.monotonic() - drained_seconds < LEFT_SECONDS + BUSY_SECONDS
    output += process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    disturbed.assert_as_undisturbed(undisturbed)


def test_a_lost_node_without_a_spare_one_is_waited_for_and_then_missed(undisturbed, disturbed, cluster, until_answered):
    disturbed.change_train(capacity_timeout_seconds=45)
    nodes = [cluster.add_node() for _ in range(2)]
    process, output = disturbed.start_until("epoch 2/6", **cluster.environment)
    killed_seconds = time.monotonic()
    with until_answered():
        nodes[0].kill()
        output += process.communicate(timeout=240)[0]
    assert process.returncode == 75, output
    assert time.monotonic() - killed_seconds < 45 + 90  # Ray takes up to half a minute to miss a node
    *_, last = output.splitlines()
    assert re.match(r"error: no workers after 4\d s \(train.capacity_timeout_seconds\): 2 workers of one core", last)
    assert [run.info.status for run in disturbed.runs()[1]] == ["FAILED"]

    cluster.add_node()
    disturbed.change_train(capacity_timeout_seconds=600)
    code, output = disturbed.train(**cluster.environment)
    assert code == 0, output
    assert "an earlier attempt at the same training continues" in output
    disturbed.assert_as_undisturbed(undisturbed)


def test_two_workers_and_one_slot_end_with_a_clear_line(project, cluster, until_answered):
    project.change_train(capacity_timeout_seconds=15)
    cluster.add_node()
    with until_answered():
        code, output = project.train(**cluster.environment)
    assert code == 75, output
    *_, last = output.splitlines()
    assert "2 workers of one core each are requested, Ray has 1 CPUs" in last


def test_a_lost_node_shrinks_the_group_and_a_new_one_lets_it_grow(project, tmp_path, cluster):
    """A training without end, because nobody knows when Ray polls for nodes; its first epochs are compared."""
    sgd = {"kind": "sgd", "learning_rate": 0.01}
    project.change_train(num_workers=1, epochs=16, global_batch_size=4, optimizer=sgd)
    undisturbed = project.copy(tmp_path / "undisturbed")
    code, output = undisturbed.train()
    assert code == 0, output
    project.change_train(num_workers={"min": 1, "max": 2}, epochs=100_000)
    nodes = [cluster.add_node() for _ in range(2)]
    process, output = project.start_until("num_workers=2", **cluster.environment)
    output += project.read_until(process, "epoch ")
    nodes[0].send_signal(signal.SIGKILL)
    output += project.read_until(process, "num_workers=1")
    cluster.add_node()
    output += project.read_until(process, "num_workers=2")
    output += project.read_until(process, "epoch ")
    process.send_signal(signal.SIGINT)
    output += process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert_same_losses(project, undisturbed)


def assert_same_losses(project, undisturbed) -> None:
    """Each epoch once, and the losses of those that both have, after thousands of steps rounded in their own ways."""
    losses = []
    for one in (project, undisturbed):
        client, [run] = one.runs()
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [metric.step for metric in history] == list(range(1, len(history) + 1))
        losses.append([metric.value for metric in history])
    for left, right in zip(*losses, strict=False):
        assert left == pytest.approx(right, rel=1e-4)
