"""The train stage on real Ray clusters: what it leaves, and what it says of how it ended."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.params import load_pipeline
from pipelines.paths import PipelinePaths
from pipelines.stages.ingest import ingest
from pipelines.stages.normalize import normalize
from pipelines.stages.split import split

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, repository) -> Path:
    """A project in a folder whose path has a space, with the digits ingested, normalized and split."""
    root = tmp_path / "a project"
    root.mkdir()
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    layers = [{"kind": "dense", "units": 16, "activation": "relu"}, {"kind": "dropout", "rate": 0.3}]
    params["digits"]["train"] |= {"epochs": 2, "model": {"layers": layers}}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    pipeline, paths = load_pipeline(root / "params.yaml", "digits"), PipelinePaths(root, "digits")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    return root


def change_train(root: Path, **changes) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["digits"]["train"] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def headrace(root: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(root), "MLFLOW_TRACKING_URI": ""},
        start_new_session=True,
    )


def train(root: Path) -> tuple[int, str]:
    process = headrace(root, "train", "digits")
    output = process.communicate(timeout=240)[0]
    return process.returncode, output


def runs(root: Path):
    from pipelines.tracking.server import connect

    client = connect(root)
    experiment = client.get_experiment_by_name("headrace/digits")
    return client, client.search_runs([experiment.experiment_id])


def processes_of_session(leader: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def test_a_training_leaves_model_checkpoint_history_and_a_finished_run(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, output = train(project)
    assert code == 0, output
    paths = PipelinePaths(project, "digits")
    run = json.loads(paths.run.read_text())
    assert run["epochs"] == 2
    assert run["num_workers"] == 2
    with paths.history.open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[1]["loss"]) < float(history[0]["loss"])

    import keras
    import numpy as np

    outputs = keras.models.load_model(paths.model)({"image": np.full((3, 8, 8, 1), 16.0, np.float32)})
    np.testing.assert_allclose(np.sum(outputs, axis=1), 1.0, rtol=1e-5)

    from components.training import checkpoints

    assert checkpoints.load(paths.checkpoint).state.epoch == 2
    assert list(paths.tensorboard.glob("validation/events.out.tfevents.*"))

    client, found = runs(project)
    assert [one.info.run_id for one in found] == [run["mlflow_run_id"]]
    assert found[0].info.status == "FINISHED"
    logged = client.get_metric_history(run["mlflow_run_id"], "validation_loss")
    assert [metric.step for metric in logged] == [1, 2]
    np.testing.assert_allclose([metric.value for metric in logged], [float(row["validation_loss"]) for row in history])
    assert not (project / ".headrace" / "ray" / run["run_name"]).exists()


def test_a_loss_that_is_not_finite_fails_the_stage_and_the_run_in_one_line(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    change_train(
        project,
        optimizer={"kind": "sgd", "learning_rate": 10.0, "momentum": 0.99},
        epochs=30,
        model={"layers": [{"kind": "dense", "units": 512}, {"kind": "dense", "units": 512}]},
    )
    code, output = train(project)
    assert code == 2, output
    assert "is not finite" in output
    assert "Traceback" not in output
    assert not PipelinePaths(project, "digits").model.exists()
    assert [run.info.status for run in runs(project)[1]] == ["FAILED"]


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, "KILLED"), (signal.SIGTERM, "KILLED")])
def test_an_interrupted_training_leaves_no_process_and_a_killed_run(project, monkeypatch, signal_number, status):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    change_train(project, epochs=10_000)
    process = headrace(project, "train", "digits")
    try:
        for line in process.stdout:
            if "epoch 2/" in line:
                break
        os.kill(process.pid, signal_number)
        asked = time.monotonic()
        process.communicate(timeout=30)
        took_seconds = time.monotonic() - asked
    finally:
        process.kill()
    assert took_seconds < 10
    assert process.returncode == 130
    deadline = time.monotonic() + 10
    while processes_of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of_session(process.pid) == []
    assert [run.info.status for run in runs(project)[1]] == [status]


def kill_during_training(root: Path, name: str) -> subprocess.Popen:
    """Start a training, and SIGKILL the first of its processes of that name after its second epoch."""
    process = headrace(root, "train", "digits")
    for line in process.stdout:
        if "epoch 2/" in line:
            break
    victims = [pid for pid in processes_of_session(process.pid) if name in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(victims[0], signal.SIGKILL)
    return process


def assert_as_undisturbed(root: Path, undisturbed: Path, *, epochs: int) -> None:
    """The same weights, each epoch once in one MLflow run, which is FINISHED."""
    import numpy as np

    from components.training import checkpoints

    one, other = (checkpoints.load(PipelinePaths(folder, "digits").checkpoint) for folder in (root, undisturbed))
    for left, right in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)
    client, found = runs(root)
    assert [run.info.status for run in found] == ["FINISHED"]
    steps = [metric.step for metric in client.get_metric_history(found[0].info.run_id, "loss")]
    assert steps == list(range(1, epochs + 1))


def test_a_training_that_loses_a_worker_or_its_driver_ends_as_if_it_had_not(project, tmp_path):
    change_train(project, epochs=6)
    lost_worker, lost_driver = tmp_path / "lost worker", tmp_path / "lost driver"
    for copy in (lost_worker, lost_driver):
        shutil.copytree(project, copy)
    code, output = train(project)
    assert code == 0, output

    process = kill_during_training(lost_worker, "RayTrainWorker")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert_as_undisturbed(lost_worker, project, epochs=6)

    process = kill_during_training(lost_driver, "pipelines")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert [run.info.status for run in runs(lost_driver)[1]] == ["RUNNING"]  # nobody was left to say otherwise
    code, output = train(lost_driver)
    assert code == 0, output
    assert "an earlier try of the same training goes on" in output
    assert_as_undisturbed(lost_driver, project, epochs=6)


def test_an_error_of_a_workers_own_ends_the_training_at_once_with_its_traceback(project):
    [table] = PipelinePaths(project, "digits").splits.glob("train/*.parquet")
    table.write_bytes(table.read_bytes()[:1000])
    code, output = train(project)
    assert code == 1, output
    assert output.count("ComputeError: parquet") == 1, output  # one worker's traceback, once: no blind second try
    assert [run.info.status for run in runs(project)[1]] == ["FAILED"]
