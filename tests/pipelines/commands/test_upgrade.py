"""`headrace upgrade`: what has changed in headrace.lock, and what runs again because of it."""

import shutil

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.components.numerics import HISTORY, NUMERICS
from headrace.pipelines.commands.upgrade import upgrade_lock
from headrace.pipelines.headrace_lock import lock_text
from headrace.pipelines.paths import ProjectPaths


@pytest.fixture
def project(repository, tmp_path) -> ProjectPaths:
    """Two pipelines, of which one has run as far as evaluate."""
    shutil.copy(repository / "dvc.yaml", tmp_path)
    params = yaml.safe_load((repository / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump({"pipelines": ["digits", "linear"], "digits": params["digits"], "linear": params["linear"]})
    )
    ran = {f"{stage}@digits": {"cmd": "x"} for stage in ("ingest", "normalize", "split", "train", "evaluate")}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": ran}))
    return ProjectPaths(tmp_path)


def write_lock_with(project: ProjectPaths, stage: str, name: str, value: object) -> None:
    locked = yaml.safe_load(lock_text())
    locked[stage][name] = value
    project.lock.write_text(yaml.safe_dump(locked))


def test_what_is_installed_makes_nothing_stale(project, capsys):
    project.lock.write_text(lock_text())
    upgrade_lock(project, None)
    assert capsys.readouterr().out == "headrace.lock holds what is installed; nothing becomes stale\n"


def test_another_package_is_named_with_the_stages_that_run_again(project, capsys):
    installed = yaml.safe_load(lock_text())["train"]["tensorflow"]
    write_lock_with(project, "train", "tensorflow", "2.20.0")
    upgrade_lock(project, None)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"train: tensorflow 2.20.0 -> {installed}", "stale in digits: train, evaluate"]
    assert project.lock.read_text() == lock_text()


def test_other_numerics_are_named_with_what_they_compute_otherwise(project, capsys):
    write_lock_with(project, "ingest", "numerics", 1)
    upgrade_lock(project, None)
    said = capsys.readouterr().out
    assert f"ingest: numerics 1 -> 2; {HISTORY['ingest'][1]}" in said
    assert "stale in digits: ingest, normalize, split, train, evaluate" in said
    assert "linear" not in said


def test_a_first_lock_says_what_it_holds_and_that_nothing_is_stale(project, capsys):
    project.dvc_lock.unlink()
    upgrade_lock(project, None)
    assert capsys.readouterr().out.endswith("no pipeline has results that become stale\n")
    assert project.lock.read_text() == lock_text()


def test_a_file_that_leaves_a_package_out_changes_nothing(project, tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy==2.0.0\n")
    with pytest.raises(ParamsError, match="expected a line polars==VERSION, found none"):
        upgrade_lock(project, tmp_path / "requirements.txt")
    assert not project.lock.exists()


def test_every_version_of_numerics_says_what_it_computes_otherwise():
    assert {stage: len(versions) for stage, versions in HISTORY.items()} == NUMERICS
    assert [stage for stage, versions in HISTORY.items() if len(set(versions)) < len(versions)] == []
