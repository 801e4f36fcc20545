"""Versions made again: on another machine, of an Airflow run, of changed files; and what differs since where."""

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.pipelines.lineage.named_model import named_version, provenance_of

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

EQUAL = "made again: equal: the same data, weights, predictions and metrics, bit for bit"
OWN_MODEL = """
import keras
from keras import layers


def build_model(inputs, label, *, units: int = 3):
    hidden = layers.Dense(units, activation="relu")(inputs["features"])
    return keras.Model(inputs, layers.Dense(label.outputs)(hidden))
"""


def test_on_another_machine_after_a_clone_and_a_pull(trained, tmp_path):
    """The registry is a server's there; commit, raw data and outcomes come from git and DVC's remote."""
    first = trained.copy(tmp_path / "first")
    first.commit("What the run has made")
    first.program("dvc", "push", "--quiet")
    registry = f"sqlite:///{first.root / 'mlflow.db'}"
    first.headrace("models")  # its artifacts are here from now on
    subprocess.run(["git", "clone", "--quiet", str(first.root), str(tmp_path / "other")], check=True)
    shutil.rmtree(first.root / ".dvc")
    other = replace(first, root=tmp_path / "other")
    (other.root / "points.csv").write_text("id,x,y\n")  # nothing of the working tree counts
    other.program("dvc", "pull", "--quiet", "data/line/raw", "reports/line/outcomes.parquet")
    before = connect_runs(registry)
    said = other.headrace("reproduce", "line@champion", MLFLOW_TRACKING_URI=registry)
    assert said.splitlines()[-1] == f"line:1, {EQUAL}"
    assert connect_runs(registry) == before
    assert [*(other.root / ".headrace" / "reproductions").iterdir()] == []


def connect_runs(uri: str) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return sorted(
        run.info.run_id for one in client.search_experiments() for run in client.search_runs([one.experiment_id])
    )


def test_of_an_airflow_run_with_overrides_and_a_data_interval(empty_project, tmp_path):
    from headrace.pipelines.airflow.operator import stage_task

    project = empty_project
    landing = tmp_path / "landing"
    project.read_by_the_day(landing)
    overrides = {"train.epochs": 3, "split.seed": 5}
    for stage in ("ingest", "normalize", "split", "train", "evaluate", "register"):
        run_task(stage_task(stage, pipeline="line", root=project.root), {"overrides": overrides})
    for folder in (landing / "date=2026-11-20", project.root / ".headrace" / "workspaces"):
        shutil.rmtree(folder)  # the source has moved on, and the run's workspace is gone
    named = named_version(project.root, "line:1")
    found = provenance_of(project.root, named.model, named.version)
    train = found.records["train"]
    assert {place: train.overrides[place].effective for place in overrides} == overrides
    interval = found.records["ingest"].interval
    assert (interval["start"][:10], interval["end"][:10]) == ("2026-11-20", "2026-11-21")
    assert train.dag_run == "headrace_line/scheduled__2026-11-20"
    assert train.experiment.rpartition("/")[2].startswith("headrace_line-scheduled__2026-11-20")
    said = project.headrace("reproduce", "line:1")
    assert said.splitlines()[-1] == f"line:1, {EQUAL}"


def run_task(task: Any, params: dict[str, Any]) -> None:
    """The task, run as a worker does, as far as it calls Airflow."""
    place = SimpleNamespace(dag_id="headrace_line", run_id="scheduled__2026-11-20", task=task, xcom_pull=lambda **_: [])
    context = {
        "ti": place,
        "params": params,
        "dag_run": SimpleNamespace(conf={}),
        "data_interval_start": datetime(2026, 11, 20, tzinfo=UTC),
        "data_interval_end": datetime(2026, 11, 21, tzinfo=UTC),
        "outlet_events": AnyEvents(),
        "inlet_events": AnyEvents(),
    }
    task.execute(context)


class AnyEvents(dict):
    """Airflow's accessors of events, of which there are none yet."""

    def __missing__(self, key: Any) -> Any:
        self[key] = Event()
        return self[key]


class Event(list):
    def add(self, asset: Any, extra: Any) -> None:
        self.append(SimpleNamespace(extra=extra))


def test_of_changed_files_and_code_that_git_does_not_know(empty_project):
    project = empty_project
    (project.root / "models").mkdir()
    (project.root / "models" / "line.py").write_text(OWN_MODEL)
    project.change(model={"file": "models/line.py", "arguments": {"units": 4}}, epochs=3)
    project.headrace("run", "line")
    named = named_version(project.root, "line")
    changes = provenance_of(project.root, named.model, named.version).changes
    assert "models/line.py" in changes
    assert "params.yaml" in changes
    project.git("checkout", "--quiet", "params.yaml")
    (project.root / "models" / "line.py").unlink()
    refused = project.headrace("reproduce", "line", code=2)
    assert "line:1 was trained with changes to models/line.py that this project has not" in refused
    kept = project.root.parent / "kept"
    said = project.headrace("reproduce", "line@champion", "--with-changed-code", "--keep", kept)
    assert said.splitlines()[-1] == f"line:1, {EQUAL}"
    assert (kept / "models" / "line.py").read_text() == OWN_MODEL


def test_what_differs_is_named_since_its_stage(trained, tmp_path):
    """Tags of other weights and of another loss, as those of a swapped version would be."""
    from headrace.pipelines.tracking.registry import tag_version

    project = trained.copy(tmp_path / "a project")
    tag_version(project.root, "line", 1, {"weights_digest": "0" * 64, "metric.loss": "0.5"})
    said = project.headrace("reproduce", "line", code=3)
    assert "equal    train      weights      largest difference 0" in said
    assert said.splitlines()[-1].startswith("line:1, made again: differs since evaluate: metrics: loss")


@pytest.mark.parametrize("break_it", ["commit", "raw", "record", "secret"])
def test_what_is_missing_is_named_and_nothing_changes(trained, tmp_path, break_it):
    project = trained.copy(tmp_path / "a project")
    expected = {
        "commit": "error: commit missing:",
        "raw": "error: raw missing: data/line/raw",
        "record": "error: record missing: an older Headrace registered it",
        "secret": "error: changes missing: of params.yaml are not kept: it seems to hold a secret",
    }[break_it]
    match break_it:
        case "commit":
            shutil.rmtree(project.root / ".git")
            project.git("init", "--quiet")
        case "raw":
            shutil.rmtree(project.root / ".dvc" / "cache" / "files")
        case "record":
            for folder in (project.root / "mlartifacts").rglob("models/*/artifacts/provenance"):
                shutil.rmtree(folder)
        case "secret":
            for file in (project.root / "mlartifacts").rglob("provenance.json"):
                left_out = '"left_out": [{"path": "params.yaml", "why": "it seems to hold a secret"}]'
                file.write_text(file.read_text().replace('"left_out": []', left_out))
    assert expected in project.headrace("reproduce", "line", code=2)
    assert not (project.root / ".headrace" / "reproductions").exists()
