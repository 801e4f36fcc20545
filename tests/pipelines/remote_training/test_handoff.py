import subprocess

import pytest

from headrace.components.errors import ParamsError
from headrace.components.files.digests import content_digest
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import NumberLabel
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.remote_training import handoff
from headrace.pipelines.remote_training.handoff import (
    Handoff,
    fetch_inputs,
    fetched_pretrained,
    git_state,
    inputs_key,
    pretrained_name,
    publish_inputs,
    read_handoff,
)

FITTED = FittedTable(
    features={"a": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
    label=NumberLabel(name="y"),
    training_examples=1,
)


@pytest.mark.parametrize(("python", "is_refused"), [("3.9", True), (handoff._python(), False), ("", False)])
def test_a_job_on_a_cluster_of_another_python_ends_before_any_work(tmp_path, monkeypatch, python, is_refused):
    monkeypatch.setenv(handoff.JOB_VARIABLE, "{}")
    given = {
        "run_name": "digits-0",
        "owner": "hand",
        "storage": "/s",
        "inputs": "i",
        "git_commit": "",
        "ray_address": "",
    }
    shipped = Handoff(**given, python=python)
    ProjectPaths(tmp_path).handoff.parent.mkdir()
    ProjectPaths(tmp_path).handoff.write_text(shipped.model_dump_json())
    if not is_refused:
        assert read_handoff(tmp_path) == shipped
        return
    with pytest.raises(ParamsError, match=r"submitted from Python 3\.9, and the cluster has Python"):
        read_handoff(tmp_path)


def test_pretrained_weights_travel_to_a_job(tmp_path):
    paths, job = PipelinePaths(tmp_path / "here", "digits"), PipelinePaths(tmp_path / "there", "digits")
    preset = tmp_path / "tiny"
    for file, text in {
        paths.manifest: "{}",
        paths.statistics: FITTED.model_dump_json(),
        preset / "config.json": "{}",
        preset / "assets" / "vocabulary.txt": "a",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    keys = {inputs_key(paths, None, one) for one in (None, preset, preset / "config.json")}
    assert len(keys) == 3
    sent = Handoff(
        run_name="digits-0",
        owner="hand",
        storage=str(tmp_path / "storage"),
        inputs=inputs_key(paths, None, preset),
        pretrained=pretrained_name(preset),
        git_commit="",
        ray_address="",
    )
    publish_inputs(paths, sent, start_weights=None, pretrained=preset)
    assert fetch_inputs(job, sent) is None
    fetched = fetched_pretrained(job, sent)
    assert content_digest(fetched) == content_digest(preset)
    assert job.manifest.read_text() == "{}"


def test_a_project_is_dirty_by_what_users_change_not_by_what_commands_write(tmp_path):
    assert git_state(tmp_path)[:2] == ("unknown", None)
    for name in (
        "params.yaml",
        "dvc.lock",
        "docs/results.md",
        "docs/results/digits.json",
        "reports/digits/metrics.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before\n")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    for name in ("dvc.lock", "docs/results.md", "docs/results/digits.json", "reports/digits/metrics.json"):
        (tmp_path / name).write_text("after\n")
    commit, is_dirty, *_ = git_state(tmp_path)
    assert len(commit) == 40
    assert is_dirty is False
    (tmp_path / "params.yaml").write_text("after\n")
    assert git_state(tmp_path)[:2] == (commit, True)
