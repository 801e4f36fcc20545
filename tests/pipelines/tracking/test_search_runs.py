"""A search in MLflow: a run of its own, and one below it for each trial, each closed by how it ended."""

import socket

import pytest

from headrace.pipelines.tracking import search_runs
from headrace.pipelines.tracking.search_runs import PARENT_TAG, SearchRuns
from headrace.pipelines.tracking.server import connect

NAME = "digits-tune-0123456789ab"


def opened(root):
    file = root / "tune" / "runs.json"
    file.parent.mkdir(exist_ok=True)
    runs = SearchRuns(root, file, experiment="headrace/digits", name=NAME, tags={"pipeline": "digits"})
    runs.begin({"train.seed": "grid:1,2"})
    return runs


def metrics(epoch: int) -> dict[str, float]:
    return {"epoch": float(epoch), "validation_loss": 1 / epoch, "loss": 2 / epoch}


def found(root):
    client = connect(root)
    experiment = client.get_experiment_by_name("headrace/digits")
    return client, {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_each_run_is_closed_by_how_it_ended(project_root):
    runs = opened(project_root)
    for number, status in ((1, "FINISHED"), (2, "KILLED"), (3, "FAILED")):
        runs.begin_trial(number, {"train.seed": number})
        runs.add(number, metrics(1))
        runs.end_trial(number, status, "because")
    runs.end("FINISHED", metrics={"validation_loss": 0.5, "trials": 3}, tags={"best.train.seed": "1"})
    _, by_name = found(project_root)
    parent = by_name.pop(NAME)
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"train.seed": "grid:1,2"}
    assert parent.data.metrics == {"validation_loss": 0.5, "trials": 3}
    assert parent.data.tags["headrace.best.train.seed"] == "1"
    assert [by_name[f"{NAME}-0000{number}"].info.status for number in (1, 2, 3)] == ["FINISHED", "KILLED", "FAILED"]
    assert {run.data.tags[PARENT_TAG] for run in by_name.values()} == {parent.info.run_id}
    assert by_name[f"{NAME}-00002"].data.params == {"train.seed": "2"}
    assert by_name[f"{NAME}-00002"].data.metrics["validation_loss"] == 1.0


def test_an_interrupted_search_goes_on_in_its_own_runs_each_epoch_once(project_root):
    runs = opened(project_root)
    runs.begin_trial(1, {"train.seed": 1})
    runs.add(1, metrics(1))
    runs.end("KILLED", "interrupted")
    assert {run.info.status for run in found(project_root)[1].values()} == {"KILLED"}

    runs = opened(project_root)
    runs.begin_trial(1, {"train.seed": 1})
    for epoch in (1, 2):
        runs.add(1, metrics(epoch))
    runs.end_trial(1, "FINISHED")
    runs.end("FINISHED")
    client, by_name = found(project_root)
    assert sorted((name, run.info.status) for name, run in by_name.items()) == [
        (NAME, "FINISHED"),
        (f"{NAME}-00001", "FINISHED"),
    ]
    history = client.get_metric_history(by_name[f"{NAME}-00001"].info.run_id, "loss")
    assert [metric.step for metric in history] == [1, 2]


@pytest.mark.parametrize("is_back", [True, False])
def test_without_mlflow_nothing_fails_and_it_is_updated_when_it_is_back(project_root, monkeypatch, is_back, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(search_runs, "RETRY_SECONDS", 1000.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused.getsockname()[1]}")
        runs = opened(project_root)
        runs.begin_trial(1, {"train.seed": 1})
        runs.add(1, metrics(1))
        if is_back:
            monkeypatch.delenv("MLFLOW_TRACKING_URI")
        runs.end("KILLED", "interrupted")
    said = capsys.readouterr()
    assert ("does not know how this search ended" in said.out + said.err) is not is_back
    if is_back:
        assert {run.info.status for run in found(project_root)[1].values()} == {"KILLED"}
