import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from headrace.pipelines.tracking.mlflow_runs import open_run
from headrace.pipelines.tracking.server import connect
from headrace.pipelines.tracking.sweep import owner_tags
from headrace.pipelines.tracking.sweep_models import sweep_models


@pytest.fixture
def dead():
    """The tags of a process that has ended."""
    code = "from headrace.pipelines.tracking.sweep import owner_tags; t = owner_tags(); print(t['host'], t['process'])"
    host, process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return {"headrace.host": host, "headrace.process": process}


def logged(root, tags, *, experiment="headrace/digits"):
    """A logged model with one file; its folder, too."""
    client = connect(root)
    run_id = open_run(root, experiment=experiment, run_name="r", tags={}, params={})
    experiment_id = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment_id, name="digits", source_run_id=run_id, tags=tags)
    (root / "packaged").mkdir(exist_ok=True)
    (root / "packaged" / "MLmodel").write_text("a model")
    client.log_model_artifacts(model.model_id, str(root / "packaged"))
    return model, run_id, Path(unquote(urlsplit(model.artifact_location).path))


def test_what_a_killed_register_left_is_removed_with_its_files(project_root, dead):
    model, _, folder = logged(project_root, dead)
    _, _, of_others = logged(project_root, dead, experiment="mine")
    assert [one.model_id for one in sweep_models(project_root, dry_run=True)] == [model.model_id]
    assert (folder / "MLmodel").is_file()
    [left] = sweep_models(project_root)
    assert left.reason == "the process that logged it has ended"
    assert not folder.exists()
    assert sweep_models(project_root) == ()
    assert (of_others / "MLmodel").is_file()


def test_a_registered_model_and_one_that_is_being_registered_stay(project_root, dead):
    model, run_id, folder = logged(project_root, dead)
    client = connect(project_root)
    client.create_registered_model("digits")
    client.create_model_version("digits", model.artifact_location, run_id, model_id=model.model_id)
    _, _, at_work = logged(project_root, {f"headrace.{key}": value for key, value in owner_tags().items() if value})
    assert sweep_models(project_root) == ()
    assert (folder / "MLmodel").is_file()
    assert (at_work / "MLmodel").is_file()


def test_one_that_nobody_here_knows_is_left_for_a_while(project_root, monkeypatch):
    logged(project_root, {"headrace.host": "elsewhere", "headrace.process": "1:1"})
    assert sweep_models(project_root) == ()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    [left] = sweep_models(project_root)
    assert left.reason == "logged 25 hours ago"
