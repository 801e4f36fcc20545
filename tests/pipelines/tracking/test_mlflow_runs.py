import signal
import subprocess
import sys

import pytest

from headrace.components.errors import ServiceError
from headrace.pipelines.tracking.mlflow_runs import (
    REASON_TAG,
    RunState,
    add_params,
    add_to_run,
    close_run,
    continue_run,
    knows_run,
    log_epoch,
    open_run,
    run_state,
)
from headrace.pipelines.tracking.run_dataset import RunDataset, log_dataset
from headrace.pipelines.tracking.server import connect


@pytest.fixture
def root(project_root):
    return project_root


@pytest.fixture
def run(root):
    return open_run(root, experiment="headrace/digits", run_name="digits-1", tags={"a": "b"}, params={"seed": 1})


def test_a_run_is_opened_with_its_params_by_dotted_name(root):
    params = {"model": {"layers": [{"kind": "dense", "units": 8}]}, "epochs": 2, "sizes": [1, 2], "none": {}}
    opened = connect(root).get_run(open_run(root, experiment="x", run_name="r", tags={"t": "1"}, params=params))
    assert opened.info.status == "RUNNING"
    assert opened.info.run_name == "r"
    assert opened.data.tags["t"] == "1"
    assert opened.data.params == {
        "model.layers.0.kind": "dense",
        "model.layers.0.units": "8",
        "epochs": "2",
        "sizes": "[1, 2]",
        "none": "{}",
    }


def test_many_long_and_oddly_named_params_are_kept_and_what_is_cut_says_so(root):
    params = {f"p{number}": number for number in range(250)} | {"long": "x" * 9000, "what's this?": 1}
    run_id = open_run(root, experiment="x", run_name="r", tags={"long": "y" * 9000}, params=params)
    data = connect(root).get_run(run_id).data
    assert len(data.params) == 252
    assert data.params["long"].endswith("x [cut: 9000 characters]")
    assert len(data.params["long"]) == 6000
    assert data.params["what_s this_"] == "1"
    assert len(data.tags["long"]) == 8000


def test_epochs_are_steps(root, run):
    for epoch, loss in [(1, 0.5), (2, 0.25)]:
        log_epoch(root, run, epoch=epoch, metrics={"loss": loss, "accuracy": 1 - loss})
    history = connect(root).get_metric_history(run, "loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_is_closed_once_and_its_status_stays(root, run, status):
    assert close_run(root, run, status=status, tags={"k": "v"}, reason="because") is True
    for later in ("FINISHED", "FAILED", "KILLED"):
        assert close_run(root, run, status=later, reason="not this") is False
    closed = connect(root).get_run(run)
    assert closed.info.status == status
    assert closed.info.end_time is not None
    assert closed.data.tags["headrace.reason"] == "because"
    assert closed.data.tags["k"] == "v"


@pytest.mark.parametrize("how", ["raise RuntimeError", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_process_that_ends_leaves_the_status_to_the_process_that_closes_the_run(root, run, how):
    # MLflow's own active runs become FINISHED after a crash; here nothing but close_run sets a status.
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from headrace.pipelines.tracking.mlflow_runs import log_epoch\n"
        f"log_epoch(Path(sys.argv[1]), sys.argv[2], epoch=1, metrics={{'loss': 1.0}})\n{how}\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, root, run], check=False, capture_output=True)
    assert ended.returncode in (1, -signal.SIGTERM)
    assert connect(root).get_run(run).info.status == "RUNNING"
    assert close_run(root, run, status="FAILED") is True


def test_metrics_and_files_are_added_to_a_closed_run(root, run, tmp_path):
    close_run(root, run, status="FINISHED")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.txt").write_text("a")
    (tmp_path / "metrics.json").write_text("{}")
    files = [tmp_path / "plots", tmp_path / "metrics.json"]
    assert add_to_run(root, run, metrics={"test_loss": 0.5}, artifacts=files, artifact_path="evaluation") is True
    client = connect(root)
    assert client.get_run(run).data.metrics == {"test_loss": 0.5}
    assert client.get_run(run).info.status == "FINISHED"
    assert [entry.path for entry in client.list_artifacts(run, "evaluation")] == [
        "evaluation/metrics.json",
        "evaluation/plots",
    ]
    assert (root / "mlartifacts" / "headrace" / "digits" / run / "artifacts" / "evaluation/plots/a.txt").is_file()


def test_adding_to_an_unknown_or_deleted_run_is_not_an_error(root, run):
    connect(root).delete_run(run)
    for run_id in (run, "0" * 32):
        assert add_to_run(root, run_id, metrics={"a": 1}, artifacts=[], artifact_path="e") is False
        assert knows_run(root, run_id) is False


def test_a_server_that_is_away_is_an_error_that_states_the_attempt(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError, match="open a run in experiment 'x'"):
        open_run(root, experiment="x", run_name="r", tags={}, params={})
    with pytest.raises(ServiceError, match="log epoch 3"):
        log_epoch(root, "0" * 32, epoch=3, metrics={"loss": 1.0})
    with pytest.raises(ServiceError, match="as KILLED"):
        close_run(root, "0" * 32, status="KILLED")
    with pytest.raises(ServiceError, match="read run"):
        knows_run(root, "0" * 32)
    assert add_to_run(root, "0" * 32, metrics={"a": 1}, artifacts=[], artifact_path="e") is False


def test_a_deleted_experiment_says_how_to_have_it_back(root, run):
    client = connect(root)
    client.delete_experiment(client.get_run(run).info.experiment_id)
    with pytest.raises(ServiceError, match="mlflow experiments restore --experiment-id"):
        open_run(root, experiment="headrace/digits", run_name="r", tags={}, params={})


def test_a_run_that_did_not_finish_goes_on_with_the_epochs_it_has(root, run):
    log_epoch(root, run, epoch=1, metrics={"loss": 0.5})
    close_run(root, run, status="KILLED", reason="interrupted")
    assert continue_run(root, run, tags={"who": "another"}) == {1}
    found = connect(root).get_run(run)
    assert found.info.status == "RUNNING"
    assert found.data.tags["who"] == "another"
    assert REASON_TAG not in found.data.tags


def test_a_finished_run_is_never_made_to_run_again(root, run):
    close_run(root, run, status="FINISHED")
    assert continue_run(root, run, tags={"who": "another"}) is None
    found = connect(root).get_run(run)
    assert found.info.status == "FINISHED"
    assert "who" not in found.data.tags


def test_a_deleted_or_unknown_run_is_not_continued(root, run):
    connect(root).delete_run(run)
    assert continue_run(root, run) is None
    assert connect(root).get_run(run).info.status == "RUNNING"  # as it was
    assert continue_run(root, "0" * 32) is None


def test_params_that_a_run_has_with_another_value_become_tags(project_root):
    run_id = open_run(project_root, experiment="x", run_name="r", tags={}, params={"evaluate": {"worst": 3}})
    params = {"evaluate": {"worst": 5, "random": 1}}
    for _ in range(2):
        add_params(project_root, run_id, params)
    data = connect(project_root).get_run(run_id).data
    assert data.params == {"evaluate.worst": "3", "evaluate.random": "1"}
    assert data.tags["headrace.params.evaluate.worst"] == "5"


def test_a_data_set_is_an_input_once(project_root):
    dataset = RunDataset(name="line", digest="d" * 36, source_type="delimited", source="{}", columns="{}", profile="{}")
    run_id = open_run(project_root, experiment="x", run_name="r", tags={}, params={}, dataset=dataset)
    log_dataset(connect(project_root), run_id, dataset)
    [found] = connect(project_root).get_run(run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest, found.tags[0].value) == ("line", "d" * 36, "training")


def test_the_state_of_a_run_is_that_it_runs_is_deleted_or_is_not_there(project_root):
    run_id = open_run(project_root, experiment="x", run_name="r", tags={}, params={})
    assert run_state(project_root, run_id) == RunState("RUNNING")
    connect(project_root).delete_run(run_id)
    assert run_state(project_root, run_id).is_deleted
    assert run_state(project_root, "0" * 32) == RunState(None)
