"""Nothing is called unchanged that DVC would run again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import up_to_date
from headrace.pipelines.project.up_to_date import Watch, unchanged_stages

STAGES = {
    "own_code": {
        "cmd": """mkdir -p .headrace && printf '{"line": 1}' > .headrace/code.json""",
        "always_changed": True,
        "outs": [{".headrace/code.json": {"cache": False}}],
    },
    "ingest": {
        "matrix": {"pipeline": ["line"]},
        "cmd": "mkdir -p data/line/examples/more && cd data/line/examples && cp ../../../raw.csv a && echo 2 > more/b",
        "params": ["line.ingest", {".headrace/code.json": ["line"]}],
        "deps": ["raw.csv"],
        "outs": ["data/line/examples"],
    },
    "train": {
        "matrix": {"pipeline": ["line"]},
        "cmd": "cp data/line/examples/a model",
        "deps": ["data/line/examples"],
        "outs": ["model"],
    },
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text("pipelines: [line]\nline: {ingest: 1}\n")
    (root / "raw.csv").write_text("1\n")
    (root / ".headrace").mkdir()
    (root / ".headrace" / "code.json").write_text('{"line": 1}')  # as `headrace run` writes it, and DVC's stage again
    (root / "more.yaml").write_text("source: raw.csv\nnote: a\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["more.yaml:source"], "stages": STAGES}))
    dvc(root, "init", "--quiet", "--no-scm")
    return root


@pytest.fixture
def paths(prepared: Path, tmp_path: Path) -> PipelinePaths:
    subprocess.run(["cp", "-r", f"{prepared}/.", tmp_path], check=True)
    return ProjectPaths(tmp_path).of("line")


@pytest.fixture
def noted(paths: PipelinePaths) -> PipelinePaths:
    """A pipeline that has run, with notes."""
    return run_and_noted(paths)


@pytest.fixture
def plain(paths: PipelinePaths) -> PipelinePaths:
    """The same with no values from another file, so that its part of params.yaml is known."""
    (paths.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    return run_and_noted(paths)


def run_and_noted(paths: PipelinePaths) -> PipelinePaths:
    watch = Watch(paths)
    dvc(paths.root, "repro", "--quiet", "train@line")
    time.sleep(0.05)
    watch.take_notes()
    assert unchanged_stages(paths) == ["ingest", "train"]
    return paths


def dvc(root: Path, *arguments: str) -> None:
    environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(root / ".headrace" / "dvc")}
    program = Path(sys.executable).with_name("dvc")
    subprocess.run([program, *arguments], cwd=root, env=environment, check=True, timeout=120)


def rewrite(path: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text(text) and None


CHANGES = {
    "an input": rewrite("raw.csv", "3\n"),
    "an input, of the same size and with its old time": lambda root: _keep_time(root / "raw.csv", "3\n"),
    "a file in a folder of outputs": rewrite("data/line/examples/more/b", "3\n"),
    "a file more in that folder": rewrite("data/line/examples/more/c", "3\n"),
    "a file less in it": lambda root: (root / "data/line/examples/more/b").unlink(),
    "an output is gone": lambda root: (root / "model").unlink(),
    "a setting": rewrite("params.yaml", "pipelines: [line]\nline: {ingest: 2}\n"),
    "a command": lambda root: (root / "dvc.yaml").write_text((root / "dvc.yaml").read_text() + "\n") and None,
    "what DVC has locked": lambda root: (root / "dvc.lock").unlink(),
    "a setting of DVC that was not there": rewrite(".dvc/config.local", "[core]\nautostage = true\n"),
    "values that dvc.yaml takes from another file": rewrite("more.yaml", "source: raw.csv\nnote: b\n"),
    "notes of another version": rewrite(".headrace/up_to_date/line.json", '{"stages": ["train"], "files": {}}'),
    "damaged notes": rewrite(".headrace/up_to_date/line.json", '{"stages": ["train"], "files": {'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_noticed(noted: PipelinePaths, change: Callable[[Path], None]) -> None:
    change(noted.root)
    assert unchanged_stages(noted) is None


def _of_another(root: Path) -> None:
    """What adding and running another pipeline changes."""
    (root / "params.yaml").write_text("pipelines: [other, line]\nother: {ingest: 5}\nline: {ingest: 1}\n")
    (root / ".headrace" / "code.json").write_text('{"other": 2, "line": 1}')
    lock = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(lock + "  train@other:\n    cmd: cp a b\n")


def test_what_another_pipeline_changes_is_no_change(plain: PipelinePaths) -> None:
    _of_another(plain.root)
    assert unchanged_stages(plain) == ["ingest", "train"]


OWN_CHANGES = {
    "its section": rewrite("params.yaml", "pipelines: [other, line]\nother: {ingest: 5}\nline: {ingest: 1.0}\n"),
    "it is no longer in the list": rewrite(
        "params.yaml", "pipelines: [other]\nother: {ingest: 5}\nline: {ingest: 1}\n"
    ),
    "params.yaml that can't be read": rewrite("params.yaml", "pipelines: [line\nline: {ingest: 1}\n"),
    "its code": rewrite(".headrace/code.json", '{"other": 2, "line": 3}'),
    "its entry in dvc.lock": lambda root: _edit(root / "dvc.lock", "cmd: cp data/line", "cmd: mv data/line"),
    "an entry more with its name": lambda root: _edit(root / "dvc.lock", "  train@other:", "  train@line:"),
    "a conflict in dvc.lock": lambda root: _edit(root / "dvc.lock", "  train@other:", "<<<<<<< HEAD\n  train@other:"),
    "an anchor in dvc.lock": lambda root: _edit(root / "dvc.lock", "cmd: cp data/line", "cmd: &a cp data/line"),
}


@pytest.mark.parametrize("change", OWN_CHANGES.values(), ids=OWN_CHANGES)
def test_its_own_change_is_noticed_among_those_of_another(plain: PipelinePaths, change: Callable[[Path], None]) -> None:
    _of_another(plain.root)
    change(plain.root)
    assert unchanged_stages(plain) is None


def test_what_dvc_found_up_to_date_is_noted_however_large_it_is(
    paths: PipelinePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up_to_date, "_MOST_HASHED_BYTES", 0)
    watch = Watch(paths)
    dvc(paths.root, "repro", "--quiet", "train@line")
    time.sleep(0.05)
    watch.take_notes()
    assert unchanged_stages(paths) is None
    watch = Watch(paths)
    dvc(paths.root, "repro", "--quiet", "train@line")
    watch.take_notes()
    assert unchanged_stages(paths) == ["ingest", "train"]


@pytest.mark.parametrize("path", ["raw.csv", "model", "params.yaml", "data/line/examples/more/b"])
def test_what_changed_while_it_ran_is_not_noted(paths: PipelinePaths, path: str) -> None:
    watch = Watch(paths)
    dvc(paths.root, "repro", "--quiet", "train@line")
    file = paths.root / path
    file.write_text(file.read_text() + "\n")
    time.sleep(0.05)
    watch.take_notes()
    assert unchanged_stages(paths) is None


def test_what_was_written_just_now_is_not_noted(noted: PipelinePaths) -> None:
    noted.up_to_date.unlink()
    os.utime(noted.root / "raw.csv", (time.time() + 1, time.time() + 1))
    Watch(noted).take_notes()
    assert unchanged_stages(noted) is None


@pytest.mark.parametrize("extra", [{"always_changed": True}, {"wdir": "."}])
def test_a_stage_whose_state_can_not_be_told_by_its_files_is_left_to_dvc(paths: PipelinePaths, extra: object) -> None:
    stages = {**STAGES, "train": {**STAGES["train"], **extra}}
    (paths.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    watch = Watch(paths)
    dvc(paths.root, "repro", "--quiet", "train@line")
    time.sleep(0.05)
    watch.take_notes()
    assert unchanged_stages(paths) is None


def test_dvc_is_asked_for_what_ran_and_may_have_changed_alone(
    noted: PipelinePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(up_to_date.dvc, "status", lambda _, *targets: asked.append(targets) or {"train@line": []})
    monkeypatch.setattr(up_to_date, "write_digests", lambda _: None)  # it would find other code than the fixture's
    project = ProjectPaths(noted.root)
    assert up_to_date.stale_targets(project, ["line"]) == set()
    assert asked == []
    (noted.root / "model").unlink()
    assert up_to_date.stale_targets(project, ["line"]) == {"train@line"}
    assert asked == [("ingest@line", "train@line")]
    (noted.root / "dvc.lock").unlink()
    assert up_to_date.stale_targets(project, ["line"]) == {"ingest@line", "train@line"}
    assert len(asked) == 1


def test_notes_hold_paths_within_the_project_alone(noted: PipelinePaths) -> None:
    notes = json.loads(noted.up_to_date.read_text())
    assert not [path for path in notes["files"] if Path(path).is_absolute()]
    assert "data/line/examples/more/b" in notes["files"]


def _edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def _keep_time(file: Path, text: str) -> None:
    before = file.stat()
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
