"""Workspaces: real git, real DVC, real processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.project.command_lines import dvc, git
from headrace.pipelines.project.dvc import config, get
from headrace.pipelines.project.workspace import (
    _slug,
    commit_of,
    committed_pipeline,
    finish,
    open_workspace,
    override_params,
    remove_old_workspaces,
    restore,
    uncommitted,
    using,
    variables_of,
)

RUN = "headrace_digits scheduled__2026-11-20T00:00:00+00:00"

# `train` writes down that it ran; "log" is no output, so DVC keeps it out of the run cache.
STAGES = {
    "split": {"cmd": "cp examples splits-${item.pipeline}", "deps": ["examples"], "outs": ["splits-${item.pipeline}"]},
    "train": {
        "cmd": "echo ran >> log; sleep 1; mkdir models; cp splits-${item.pipeline} models/${item.pipeline}"
        ' && echo \'{"accuracy": 0.9}\' > "metrics ${item.pipeline}.json"',
        "deps": ["splits-${item.pipeline}"],
        "params": ["${item.pipeline}.train"],
        "outs": ["models/${item.pipeline}"],
        "metrics": [{"metrics ${item.pipeline}.json": {"cache": False}}],
    },
}


@pytest.fixture(scope="module")
def template(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two pipelines with two stages each, and a remote that is a folder in it."""
    project = tmp_path_factory.mktemp("template")
    matrix = {"pipeline": ["digits", "mnist"]}
    stages = {name: {"matrix": matrix, **stage} for name, stage in STAGES.items()}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (project / "examples").write_text("1\n2\n")
    shutil.copy(repository / "params.yaml", project)
    (project / ".gitignore").write_text("/.headrace/\n")
    git(project, "init", "--quiet", "--initial-branch=main")
    dvc(project, "init", "--quiet")
    (project / ".dvc" / "config").write_text(
        "[core]\nremote = local\n['remote \"local\"']\nurl = ../.headrace/remote\n"
    )
    commit(project, "Begin")
    return project


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "a project")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "all workspaces"


def commit(project: Path, message: str) -> None:
    git(project, "add", "--all")
    git(project, "-c", "user.name=Test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", message)


def experiments(project: Path, revision: str = "HEAD") -> dict[str, Any]:
    """What `dvc exp show` says in the project, by name."""
    shown = json.loads(dvc(project, "exp", "show", "--json", "--rev", revision))
    return {one["name"]: one["revs"][0]["data"] for row in shown for one in row["experiments"] or []}


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    code = f"import sys\nfrom pathlib import Path\nfrom headrace.pipelines.project.workspace import *\n{code}"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


def test_a_workspace_that_was_copied_with_its_project_is_not_taken_for_one_of_the_copy(project, tmp_path):
    open_workspace(project, project / ".headrace" / "workspaces", name=RUN)
    copy = Path(shutil.copytree(project, tmp_path / "a copy", symlinks=True))
    with pytest.raises(ServiceError, match=rf"is a clone of {project}, expected one of {copy}"):
        open_workspace(copy, copy / ".headrace" / "workspaces", name=RUN)


def test_what_a_workspace_pulls_is_checked(project, folder):
    assert config(open_workspace(project, folder, name=RUN))["remote.local.verify"] == "true"


def test_only_headraces_own_repository_is_on_the_path_of_its_stages(tmp_path):
    """There, stages run the commit's code; another project's folders must not come before a library."""
    assert variables_of(tmp_path) == {}
    (tmp_path / "headrace").mkdir()
    (tmp_path / "headrace" / "__init__.py").write_text("")
    command = [sys.executable, "-P", "-c", "import headrace; print(headrace.__file__)"]
    environment = {**os.environ, **variables_of(tmp_path)}
    found = subprocess.run(command, env=environment, cwd=tmp_path.parent, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == str(tmp_path / "headrace" / "__init__.py")


def test_a_workspace_is_the_project_at_its_commit_and_stays_there(project, folder):
    (project / "examples").write_text("not committed\n")
    (project / "nöte").write_text("")
    workspace = open_workspace(project, folder, name=RUN)
    assert uncommitted(project) == ["examples", "nöte"]
    assert (workspace / "examples").read_text() == "1\n2\n"
    first = git(project, "rev-parse", "HEAD").strip()
    commit(project, "More")
    assert open_workspace(project, folder, name=RUN) == workspace
    assert open_workspace(project, folder, name=RUN, revision="main") == workspace
    assert commit_of(workspace) == first
    with pytest.raises(ServiceError, match=f"is at commit {first}"):
        open_workspace(project, folder, name=RUN, revision=git(project, "rev-parse", "HEAD").strip())


def test_a_revision_may_be_of_a_branch_or_of_none(project, folder):
    git(project, "switch", "--quiet", "--create", "other")
    (project / "examples").write_text("other\n")
    commit(project, "Other")
    git(project, "checkout", "--quiet", "--detach")
    (project / "examples").write_text("detached\n")
    commit(project, "Detached")
    detached = git(project, "rev-parse", "HEAD").strip()
    git(project, "switch", "--quiet", "main")
    assert (open_workspace(project, folder, name="a", revision="other") / "examples").read_text() == "other\n"
    assert (open_workspace(project, folder, name="b", revision=detached) / "examples").read_text() == "detached\n"


@pytest.mark.parametrize(
    ("revision", "message"), [("nowhere", "nowhere"), ("--upload-pack=x", "expected a branch, a tag or a commit")]
)
def test_a_revision_that_is_not_there_leaves_nothing(project, folder, revision, message):
    with pytest.raises(ServiceError, match=message):
        open_workspace(project, folder, name=RUN, revision=revision)
    assert list(folder.iterdir()) == []


def test_two_concurrent_runs_share_the_cache_and_not_their_files(project, folder):
    (project / "examples").write_text("changed by a user\n")
    before = sorted(path for path in project.rglob("*") if ".git/" not in str(path))
    repro = """
workspace = open_workspace(Path(sys.argv[1]), Path(sys.argv[2]), name=sys.argv[3])
dvc(workspace, "repro", f"train@{sys.argv[3]}")
"""
    runs = [python(repro, project, folder, name) for name in ("digits", "mnist")]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert (folder / "digits" / "models" / "digits").read_text() == "1\n2\n"
    assert not (folder / "mnist" / "models" / "digits").exists()
    after = {path for path in project.rglob("*") if ".git/" not in str(path)} - set(before)
    assert {path.relative_to(project).parts[:2] for path in after} <= {(".dvc", "cache"), (".dvc", "tmp")}
    # a third run with the same inputs finds what the first one has made, also where that has been written into
    with (folder / "digits" / "models" / "digits").open("a") as written:
        written.write("3\n")
    third = open_workspace(project, folder, name="third")
    dvc(third, "repro", "train@digits")
    assert (third / "models" / "digits").read_text() == "1\n2\n"
    assert not (third / "log").exists()


@pytest.mark.long
def test_a_backfill_beside_the_schedule_has_one_writer_for_each_day(project, folder, until_answered):
    """Three concurrent runs of one pipeline, two of which are one run that was started twice."""
    names = ["scheduled__2026-11-21", "backfill__2026-11-20", "backfill__2026-11-20"]
    repro = """
from headrace.pipelines.project.dvc import repro
workspace = open_workspace(Path(sys.argv[1]), Path(sys.argv[2]), name=sys.argv[3])
(workspace / "examples").write_text(sys.argv[3])
with repro(workspace, "train@digits", pipeline="digits") as process:
    for line in process.stdout:
        print(line, end="")
sys.exit(process.wait())
"""
    with until_answered():
        runs = [python(repro, project, folder, name) for name in names]
        codes = [run.wait(timeout=90) for run in runs]
    assert codes[0] == 0 and 0 in codes[1:]
    for name in set(names):
        [workspace] = folder.glob(f"{name}*")
        assert (workspace / "models" / "digits").read_text() == name
        assert (workspace / "log").read_text() == "ran\n"


def test_many_may_open_one_workspace_concurrently(project, folder):
    opened: list[Path] = []
    threads = [
        threading.Thread(target=lambda: opened.append(open_workspace(project, folder, name=RUN))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(opened) == 2
    assert list(folder.iterdir()) == [opened[0]] and set(opened) == {opened[0]}


@pytest.mark.parametrize("after_seconds", [0.1, 0.9])
def test_a_workspace_is_whole_or_not_there_after_a_kill(project, folder, after_seconds):
    opening = python("open_workspace(*map(Path, sys.argv[1:]), name='run')", project, folder, start_new_session=True)
    deadline = time.monotonic() + 30
    while not list(folder.glob(".part-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after_seconds)
    os.killpg(opening.pid, signal.SIGKILL)
    opening.wait(timeout=10)
    assert not (folder / "run").exists()
    workspace = open_workspace(project, folder, name="run")
    assert dvc(workspace, "config", "cache.dir").strip() == str(project / ".dvc" / "cache")
    for part in folder.glob(".part-*"):
        os.utime(part, (0, 0))
    remove_old_workspaces(folder, older_than_days=1)
    assert list(folder.iterdir()) == [workspace]


def test_a_finished_run_is_an_experiment_of_the_project(project, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # no git identity
    workspace = open_workspace(project, folder, name=RUN)
    override_params(workspace, "digits", {"train.epochs": 7})
    dvc(workspace, "repro", "train@digits")
    name = finish(workspace)
    assert finish(workspace) == name == workspace.name
    assert name.startswith("headrace_digits-scheduled__2026-11-20T00-00-00-00-00-")
    shown = experiments(project)
    assert set(shown) == {name}
    assert shown[name]["metrics"]["metrics digits.json"]["data"] == {"accuracy": 0.9}
    assert shown[name]["params"]["params.yaml"]["data"]["digits"]["train"]["epochs"] == 7
    assert git(project, "status", "--porcelain") == ""
    assert len(git(project, "for-each-ref", "refs/exps").splitlines()) == 1
    get(project, "models/digits", revision=name, destination=tmp_path / "model")
    assert (tmp_path / "model").read_text() == "1\n2\n"


def test_another_machine_goes_on_from_git_and_the_remote(project, folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    remote = tmp_path / "a remote"
    (project / ".dvc" / "config").write_text(f"[core]\nremote = far\n['remote \"far\"']\nurl = {remote}\n")
    commit(project, "A remote that all machines reach")
    url = project.as_uri()
    first = open_workspace(url, folder, name=RUN)
    override_params(first, "digits", {"train.epochs": 7})
    dvc(first, "repro", "train@digits")
    finish(first)
    (project / "examples").write_text("3\n")
    commit(project, "More, while the run continues")
    second = open_workspace(url, elsewhere, name=RUN, revision=commit_of(first))
    assert load_pipeline(second / "params.yaml", "digits").train.epochs == 7
    assert not (second / "splits-digits").exists()
    restore(second, ["split@digits"])
    assert (second / "splits-digits").read_text() == "1\n2\n"
    dvc(second, "repro", "--pull", "--single-item", "train@digits")
    assert (second / "models" / "digits").read_text() == "1\n2\n"
    assert not (second / "log").exists()
    with pytest.raises(ServiceError, match="split@mnist"):
        restore(second, ["split@mnist"])


def test_a_remote_inside_the_project_is_no_use_to_a_clone_of_a_url(project, folder):
    with pytest.raises(ServiceError, match="the DVC remote 'local' is a folder beside the project"):
        open_workspace(project.as_uri(), folder, name=RUN)


def test_a_remote_that_is_away_is_reported_and_the_run_can_be_finished_later(project, folder):
    workspace = open_workspace(project, folder, name=RUN)
    dvc(workspace, "repro", "split@digits")
    (project / ".headrace" / "remote").write_text("no folder")
    with pytest.raises(ServiceError, match="dvc --wait-for-lock push --run-cache"):
        finish(workspace)
    assert experiments(project) == {}
    (project / ".headrace" / "remote").unlink()
    name, other = finish(workspace), finish(open_workspace(project, folder, name="that-ran-nothing"))
    assert set(experiments(project)) == {name, other}


def test_private_settings_and_the_embedded_mlflow_come_along(project, folder):
    private = project / ".dvc" / "config.local"
    private.write_text("['remote \"far\"']\nurl = s3://bucket/x\nsecret_access_key = 'a # b'\n")
    private.chmod(0o600)
    workspace = open_workspace(project, folder, name=RUN)
    settings = dvc(workspace, "config", "--list")
    assert "remote.far.secret_access_key=a # b" in settings
    assert f"remote.local.url={project / '.headrace' / 'remote'}" in settings
    assert (workspace / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
    assert (workspace / "mlflow.db").resolve() == project / "mlflow.db"
    assert git(workspace, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train.epoch": 3}, "digits.train.epoch: unknown name; did you mean 'epochs'?"),
        ({"train.epochs": 0}, "digits.train.epochs: input should be greater than or equal to 1, found 0"),
        ({"train.model.layers.99.units": 1}, "there is no '99'"),
        ({"train.start_from": "/etc/passwd"}, "train.start_from: a run can't change it"),
        ({"description": "other"}, "description: a run can't change it"),
    ],
)
def test_overrides_are_checked_before_anything_changes(project, values, message):
    with pytest.raises(ParamsError, match=message.replace("?", r"\?")):
        override_params(project, "digits", {"train.seed": 5, **values})
    assert uncommitted(project) == []


def test_overrides_are_of_the_commits_params_however_often_they_are_given(project):
    params = project / "params.yaml"
    epochs = load_pipeline(params, "digits").train.epochs
    override_params(project, "digits", {"train.epochs": 7})
    written_ns = params.stat().st_mtime_ns
    override_params(project, "digits", {"train.epochs": 7})
    assert params.stat().st_mtime_ns == written_ns
    override_params(
        project, "digits", {"train.early_stopping": {"patience_epochs": 3}, "train.seed": 5}
    )  # other ones, as after a clear
    train = load_pipeline(params, "digits").train
    assert (train.seed, train.epochs, train.early_stopping.patience_epochs) == (5, epochs, 3)
    assert committed_pipeline(project, "digits").train.seed == 1


def test_code_of_the_project_is_that_of_the_workspace(project, folder):
    (project / "own.py").write_text("def rows(*, start, end): pass\n\ndef build_model(inputs, label): pass\n")
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["titanic"]["ingest"]["source"] = {"kind": "python", "file": "own.py"}
    content["titanic"]["train"]["model"] = {"file": "own.py"}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    commit(project, "Use code of our own")
    workspace = open_workspace(project, folder, name=RUN)
    (project / "own.py").unlink()
    interval = {"start": "2026-11-20T00:00:00+00:00", "end": "2026-11-21T00:00:00+00:00"}
    places = {f"ingest.source.interval.{name}": at for name, at in interval.items()}
    override_params(workspace, "titanic", {"train.epochs": 7}, interval=places)
    found = load_pipeline(workspace / "params.yaml", "titanic")
    assert found.ingest.source.interval.start.isoformat() == interval["start"]
    for values in ({"ingest.source.file": "other.py"}, {"ingest.source.function": "f"}, places):
        with pytest.raises(
            ParamsError, match=r"ingest\.source\.[\w.]+: a run can't change it|no such file|no function"
        ):
            override_params(workspace, "titanic", values)


def test_old_workspaces_are_removed_but_none_that_is_in_use(project, folder):
    old, used = (open_workspace(project, folder, name=name) for name in ("old", "used"))
    with using(used):
        for workspace in (old, used):
            os.utime(workspace / ".git" / "headrace.lock", (0, 0))
        assert remove_old_workspaces(folder, older_than_days=2) == [old]
    assert list(folder.iterdir()) == [used]
    with using(used):
        pass
    assert remove_old_workspaces(folder, older_than_days=2) == []
    with pytest.raises(ServiceError, match="no workspace"):
        finish(old)
    with pytest.raises(FileNotFoundError), using(used):  # what the block raises is not taken for that
        (used / "nowhere").read_text()


def test_names_that_differ_have_workspaces_that_differ(project):
    names = ["a b", "a-b", "a/b", "../b", "a" * 300, "a" * 301, "b.lock", "ü"]
    slugs = [_slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    for slug in slugs:
        git(project, "check-ref-format", f"refs/exps/ab/cd/{slug}")
        assert len(slug) < 128 and "/" not in slug and slug[0] not in ".-"


def test_records_of_stages_go_to_the_next_machine_with_the_experiment(project, folder, tmp_path):
    workspace = open_workspace(project, folder, name=RUN)
    dvc(workspace, "repro", "split@digits")
    record = Path(".headrace", "provenance", "digits", "split-0123456789abcdef.json")
    (workspace / record).parent.mkdir(parents=True)
    (workspace / record).write_text("{}")
    finish(workspace)
    other = open_workspace(project, tmp_path / "elsewhere", name=RUN)
    assert (other / record).read_text() == "{}"
    assert git(other, "status", "--porcelain") == git(workspace, "status", "--porcelain")
