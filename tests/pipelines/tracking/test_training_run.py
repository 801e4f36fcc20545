"""Each epoch once and the true status in MLflow, whether or not it is there while a training continues."""

import json
import socket

import pytest

from headrace.pipelines.tracking import training_run
from headrace.pipelines.tracking.server import connect
from headrace.pipelines.tracking.training_run import begin, deliver, record_file

NAME = "digits-0123456789ab"


@pytest.fixture
def away(monkeypatch):
    """Call it with True for an MLflow that does not answer, with False for one that does."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"

        def set_away(is_away: bool) -> None:
            if is_away:
                monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            else:
                monkeypatch.delenv("MLFLOW_TRACKING_URI")

        monkeypatch.setattr(training_run, "RETRY_SECONDS", 0.0)
        yield set_away


def begun(root, **params):
    params = {"seed": 1, **params}
    return begin(root, experiment="headrace/digits", run_name=NAME, tags={"a": "b"}, params=params, epochs=9)


def metrics(epoch: int) -> dict[str, float]:
    return {"epoch": float(epoch), "loss": 1 / epoch, "seconds": 0.1}


def recorded_id(root) -> str | None:
    return json.loads(record_file(root, NAME).read_text())["run_id"]


def found_runs(root):
    client = connect(root)
    experiment = client.get_experiment_by_name("headrace/digits")
    return client, client.search_runs([experiment.experiment_id])


def assert_one_run(root, *, status: str, epochs: list[int]) -> None:
    client, runs = found_runs(root)
    assert [run.info.status for run in runs] == [status]
    assert runs[0].data.tags["headrace.a"] == "b"
    assert [metric.step for metric in client.get_metric_history(runs[0].info.run_id, "loss")] == epochs


def test_epochs_that_are_reported_twice_are_sent_once(project_root):
    run = begun(project_root)
    for epoch in (1, 2, 2, 1, 3):
        run.add(metrics(epoch))
    run.close("FINISHED")
    assert_one_run(project_root, status="FINISHED", epochs=[1, 2, 3])
    assert recorded_id(project_root) == run.run_id


def test_mlflow_that_is_away_at_the_start_is_updated_as_soon_as_it_answers(project_root, away):
    away(True)
    run = begun(project_root)
    run.add(metrics(1))
    assert run.run_id is None
    away(False)
    run.add(metrics(2))
    run.close("FINISHED")
    assert_one_run(project_root, status="FINISHED", epochs=[1, 2])


def test_mlflow_that_is_away_in_the_middle_gets_each_epoch_once(project_root, away):
    run = begun(project_root)
    run.add(metrics(1))
    away(True)
    run.add(metrics(2))
    run.add(metrics(3))
    away(False)
    run.add(metrics(4))
    run.close("FAILED", "because")
    assert_one_run(project_root, status="FAILED", epochs=[1, 2, 3, 4])


def test_mlflow_that_never_came_is_updated_later_and_once(project_root, away):
    away(True)
    run = begun(project_root)
    run.add(metrics(1))
    run.close("KILLED", "interrupted")
    deliver(project_root)  # still away
    away(False)
    deliver(project_root)
    deliver(project_root)
    assert_one_run(project_root, status="KILLED", epochs=[1])
    assert recorded_id(project_root) is not None


def test_an_unfinished_training_goes_on_in_its_own_run(project_root, away):
    first = begun(project_root)
    first.add(metrics(1))
    away(True)
    first.add(metrics(2))
    first.close("KILLED", "interrupted")
    away(False)
    second = begun(project_root)
    for epoch in (1, 2, 3):
        second.add(metrics(epoch))
    second.close("FINISHED")
    assert_one_run(project_root, status="FINISHED", epochs=[1, 2, 3])


def test_a_finished_training_that_is_made_again_has_a_run_of_its_own(project_root):
    """With its own params: some, such as the number of workers, do not change the training's name."""
    for num_workers in (1, 2):
        run = begun(project_root, num_workers=num_workers)
        run.add(metrics(1))
        run.close("FINISHED")
    assert {found.data.params["num_workers"] for found in found_runs(project_root)[1]} == {"1", "2"}
