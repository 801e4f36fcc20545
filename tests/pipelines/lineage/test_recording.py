"""Records of what stages ran on: written by each run, found again by what it wrote, and no part of its outputs."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.artifacts.provenance_record import StageRecord, read_provenance
from headrace.pipelines.lineage.recording import gather, recorded
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

STAGES = {"ingest": ingest, "normalize": normalize, "split": split}


def loaded(root: Path) -> tuple[Pipeline, PipelinePaths]:
    return load_pipeline(root / "params.yaml", "line"), PipelinePaths(root, "line")


def run(root: Path, *stages: str) -> dict[str, StageRecord]:
    """Run stages as their commands do; the records that fit what is there then."""
    pipeline, paths = loaded(root)
    for stage in stages:
        with recorded(stage, pipeline, paths):
            STAGES[stage](pipeline, paths)
    return read_provenance(gather("split", pipeline, paths)).records


def change(root: Path, **values) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    for place, value in values.items():
        section, key = place.split("__")
        params["line"][section][key] = value
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def outputs(root: Path) -> dict[str, bytes]:
    files = [file for folder in ("data", "reports") for file in (root / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def test_a_record_says_what_ran_on_what(empty_project):
    root = empty_project.root
    record = run(root, "ingest")["ingest"]
    [file] = record.raw_files
    assert (file.name, file.bytes) == ("points.csv", (root / "points.csv").stat().st_size)
    assert record.tree.commit == empty_project.git("rev-parse", "HEAD").strip()
    assert (record.tree.branch, record.tree.user, record.tree.remote) == (
        "main",
        "ann@example.org",
        "https://***@git.example.org/line.git",
    )
    assert record.section["max_bad_fraction"] == 0.0  # a default
    assert record.machine.cores >= 1
    assert record.versions["polars"]
    assert record.lock_sha256
    assert (record.overrides, record.interval, record.changes) == ({}, None, "")


def test_equal_runs_have_equal_outputs_and_records_of_their_own(empty_project, tmp_path):
    root = empty_project.root
    first = run(root, *STAGES)
    before = outputs(root)
    shutil.rmtree(root / "data")
    second = run(root, *STAGES)
    assert outputs(root) == before
    assert {file for file in before if "provenance" in file} == set()
    assert all(second[stage].started_at > first[stage].started_at for stage in STAGES)


def test_a_run_that_fails_or_changes_nothing_leaves_no_record(empty_project):
    root = empty_project.root
    pipeline, paths = loaded(root)
    with pytest.raises(ZeroDivisionError), recorded("ingest", pipeline, paths):
        ingest(pipeline, paths)
        raise ZeroDivisionError
    assert not paths.provenance.exists()
    with recorded("ingest", pipeline, paths):
        pass
    assert not paths.provenance.exists()


def test_outputs_that_come_back_find_the_record_of_the_run_that_made_them(empty_project):
    root = empty_project.root
    first = run(root, *STAGES)
    kept = {file: (root / file).read_bytes() for file in outputs(root)}
    change(root, split__seed=2)
    other = run(root, *STAGES)
    assert other["split"].section["seed"] == 2
    change(root, split__seed=1)
    for file, content in kept.items():  # as DVC does from its run cache
        (root / file).write_bytes(content)
    pipeline, paths = loaded(root)
    again = read_provenance(gather("split", pipeline, paths)).records
    assert again["split"] == first["split"]
    (root / "data" / "line" / "splits" / "manifest.json").write_text("{}")
    assert read_provenance(gather("split", pipeline, paths)).stages["split"] is None


def test_changes_and_overrides_are_there(empty_project):
    root = empty_project.root
    change(root, split__seed=7, train__epochs=3)
    record = run(root, "ingest")["ingest"]
    found = read_provenance(gather("ingest", *loaded(root)))
    assert {place: (one.committed, one.effective) for place, one in record.overrides.items()} == {
        "split.seed": (1, 7),
        "train.epochs": (2, 3),
    }
    assert "+    seed: 7" in found.changes.splitlines()
    assert found.tree.dirty
    assert found.tree.changes_sha256 == record.tree.changes_sha256
    assert record.changes == ""  # once is enough


def test_secrets_of_addresses_are_in_no_record(empty_project):
    root = empty_project.root
    secret = {"name": "points.csv", "url": "https://host.example.org/points.csv?token=hunter2"}
    change(root, ingest__source={"kind": "delimited", "dataset": "line", "parts": [{"files": [secret]}]})
    pipeline, paths = loaded(root)
    file = gather("split", pipeline, paths)
    assert "hunter2" not in file.read_text()
    assert "points.csv" in file.read_text()


def test_a_clean_tree_is_required_before_any_work(empty_project, monkeypatch):
    root = empty_project.root
    change(root, split__seed=7)
    monkeypatch.setenv("HEADRACE_REQUIRE_CLEAN", "1")
    with pytest.raises(ParamsError, match=r"these differ from the commit: params\.yaml"):
        run(root, "ingest")
    assert not (root / "data").exists()


def test_a_clean_stage_costs_two_calls_of_git(empty_project, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    pipeline, paths = loaded(empty_project.root)
    with recorded("ingest", pipeline, paths):
        ingest(pipeline, paths)
    assert len(calls.read_text().splitlines()) == 2


def test_a_project_outside_of_git_is_recorded(empty_project):
    shutil.rmtree(empty_project.root / ".git")
    record = run(empty_project.root, "ingest")["ingest"]
    assert record.tree.commit is None
    assert record.raw_files


def test_a_damaged_record_is_set_aside(empty_project):
    run(empty_project.root, "ingest")
    [file] = (empty_project.root / ".headrace" / "provenance" / "line").glob("ingest-*.json")
    file.write_text("{")
    pipeline, paths = loaded(empty_project.root)
    found = read_provenance(gather("split", pipeline, paths))
    assert found.stages["ingest"] is None
    assert json.loads(file.with_name(f"{file.name}.damaged").read_text() + "}") == {}
