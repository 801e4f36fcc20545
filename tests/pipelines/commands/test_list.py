import json
import shutil
from pathlib import Path

import pytest
import yaml

from headrace.pipelines.commands.list import NEVER_RUN, PipelineState, fresh_stages, state_of
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import CHAMPION
from headrace.pipelines.tracking.server import connect


def test_a_finished_pipeline_is_fresh_and_a_change_makes_what_follows_stale(project):
    lines = project.output_of("list").splitlines()
    shown = ["pipeline", "ingest", "train", "register", "metric", "champion", "date", "description"]
    assert lines[0].split() == shown
    assert lines[1].split()[:4] == ["digits", "fresh", "fresh", "fresh"]
    project.write_stages(train="true")
    assert project.output_of("list").splitlines()[1].split()[:4] == ["digits", "fresh", "stale", "stale"]


def test_a_stage_after_a_stale_one_is_stale():
    graph = {"ingest": (), "split": ("ingest",), "train": ("split",)}
    assert fresh_stages(graph, changed={"split"}) == {"ingest"}
    assert fresh_stages(graph, changed=set()) == {"ingest", "split", "train"}


def test_every_command_closes_the_state_whatever_dvc_has_made_of_it(project):
    state = project.root / ".headrace"
    state.mkdir(exist_ok=True)
    state.chmod(0o777)
    project.output_of("list")
    assert state.stat().st_mode & 0o777 == 0o700


def test_dvc_keeps_its_notes_in_the_project(project, monkeypatch):
    """Nobody plants a cache of hashes: DVC's own place for it may be written by all users of a machine."""
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    shutil.rmtree(project.root / ".headrace", ignore_errors=True)
    project.output_of("list")
    assert [*(project.root / ".headrace" / "dvc" / "repo").iterdir()]


@pytest.fixture
def linear(repository: Path, tmp_path: Path):
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    reduced = {"pipelines": ["linear"], "linear": content["linear"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(reduced), encoding="utf-8")
    return load_pipeline(tmp_path / "params.yaml", "linear"), PipelinePaths(tmp_path, "linear")


def test_a_pipeline_without_files_has_no_state(linear):
    assert state_of(*linear) is None


def test_a_row_has_metric_champion_and_date(linear, registered, tmp_path):
    pipeline, _ = linear
    root = tmp_path / "project"
    shutil.copytree(registered, root)
    store = (root / "mlflow.db").rename(tmp_path / "store")
    paths = PipelinePaths(root, "small")
    paths.reports.mkdir(parents=True)
    digests = dict.fromkeys(("weights_digest", "model_sha256", "data_digest"), "0" * 64)
    measured = digests | {"ids_digest": "", "outcomes_sha256": "", "evaluation_version": 2, "examples": 9}
    name = pipeline.register_.compare.metric
    paths.metrics.write_text(json.dumps(measured | {"format_version": 2, name: 1.05}))
    assert state_of(pipeline, paths) == PipelineState(f"{name} 1.05", "", "")
    paths.registration.write_text("{}")
    assert state_of(pipeline, paths).champion == "unknown"  # without a store: none is made to look
    assert not (root / "mlflow.db").exists()
    store.rename(root / "mlflow.db")
    assert state_of(pipeline, paths).champion == "none"
    connect(root).set_registered_model_alias("small", CHAMPION, "1")
    assert state_of(pipeline, paths).champion == "version 1"
    paths.run.parent.mkdir(parents=True)
    paths.run.write_text("{}")
    assert state_of(pipeline, paths).date == "unreadable"


def test_a_pipeline_that_never_ran_says_so(project):
    file = project.root / "params.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump(content | {"pipelines": ["digits", "other"], "other": content["digits"]}))
    lines = project.output_of("list").splitlines()
    [row] = [line for line in lines if line.startswith("other")]
    assert row.split()[1:3] == NEVER_RUN.split()
