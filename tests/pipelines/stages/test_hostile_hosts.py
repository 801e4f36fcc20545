"""Every stage, and `headrace run`, on a machine that lacks something: room, permission, memory, files, plain paths.

Disks are file systems of their own, in a mount namespace: this file, run as a program, is what happens inside it.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from headrace.pipelines.paths import PipelinePaths

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

NAMESPACE = ["unshare", "--map-root-user", "--mount"]
STAGES = ["ingest", "normalize", "split", "train", "evaluate", "register"]
SECTION = {
    "description": "A small table",
    "ingest": {
        "source": {
            "kind": "delimited",
            "dataset": "small",
            "parts": [{"files": [{"name": "rows.csv", "url": "rows.csv"}]}],
        },
        "features": {"size": {"type": "number"}},
        "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
    },
    "normalize": {"transforms": {"size": [{"kind": "standardize"}]}},
    "split": {"validation_fraction": 0.1, "test_fraction": 0.1},
    "train": {
        "model": {"layers": []},
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "global_batch_size": 8,
        "epochs": 1,
        "num_workers": 1,
    },
    "evaluate": {},
    "register": {"thresholds": {}, "compare": {"metric": "loss"}},
}


def headrace(root: Path, *arguments: str, **options) -> tuple[int, list[str]]:
    """Exit code and lines of a command."""
    environment = {**os.environ, "HOME": str(root), **options.pop("environment", {})}
    ended = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
        **options,
    )
    return ended.returncode, ended.stdout.splitlines()


def forget(root: Path, *stages: str) -> None:
    """Let stages have work again that notice that they have done it."""
    paths = PipelinePaths(root, "small")
    if "train" in stages:
        shutil.rmtree(paths.model.parent, ignore_errors=True)
    if "register" in stages:
        paths.registration.unlink(missing_ok=True)
        for file in (*root.glob("mlflow.db*"), root / "mlartifacts", root / ".headrace"):
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def fill(folder: Path) -> None:
    """Leave no byte of the disk."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(1 << 12)):
            pass


def report(**fields) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")


def on_a_full_and_a_read_only_disk(disk: Path) -> None:
    """Print what becomes of each command: with no room, with room again, and where nothing may be written."""
    for name in STAGES:
        forget(disk, name)
        fill(disk)
        full = measured(disk, name, "small")
        (disk / "filler").unlink(missing_ok=True)
        report(command=name, full=full, room=measured(disk, name, "small"))
    forget(disk, "train", "register")
    fill(disk)
    full = measured(disk, "run", "small")
    (disk / "filler").unlink()
    report(command="run", full=full, room=measured(disk, "run", "small"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for name in [*STAGES, "run"]:
        report(command=name, read_only=measured(disk, name, "small"))
    report(command="list", read_only=measured(disk, "list"))


def measured(root: Path, *arguments: str) -> tuple[int, list[str], float]:
    """Exit code, lines and seconds of a command."""
    started_seconds = time.monotonic()
    return (*headrace(root, *arguments), round(time.monotonic() - started_seconds, 1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, repository) -> Path:
    """A project that has run once, with DVC."""
    root = tmp_path_factory.mktemp("finished") / "project"
    root.mkdir()
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["small"], "small": SECTION}))
    random = np.random.default_rng(1)
    table = {"size": random.normal(size=1000), "kind": random.choice(["big", "small"], 1000)}
    pl.DataFrame(table).write_csv(root / "rows.csv")
    for name in ("dvc.yaml", "headrace.lock"):
        shutil.copy(repository / name, root)
    (root / ".gitignore").write_text("/data/\n/models/\n/.headrace/\n/mlflow.db*\n/mlartifacts/\n")
    for command in (["git", "init", "--quiet"], [str(Path(sys.executable).with_name("dvc")), "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)
    code, lines = headrace(root, "run", "small")
    assert code == 0, lines
    return root


@pytest.fixture
def project(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "project", symlinks=True)


@pytest.fixture(scope="module")
def inside() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a shell script with mounts of its own; its arguments are $1 and so on."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a file system of its own (unshare --map-root-user --mount)")

    def run(script: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*NAMESPACE, "sh", "-ec", script, "sh", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "HOME": str(cwd), **environment},
            capture_output=True,
            text=True,
            timeout=1700,  # for fifteen commands, on a machine that has other work
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def reported(finished, inside, tmp_path_factory, repository) -> dict[str, dict[str, tuple[int, list[str], float]]]:
    """Exit code, lines and seconds of each command on a full disk, with room again, and on a read-only disk."""
    disk = tmp_path_factory.mktemp("disk")
    mount = 'mount -t tmpfs -o size=256m tmpfs "$1" && cp -a . "$1" && cd "$1" && exec "$2" "$3"'
    ended = inside(mount, disk, sys.executable, __file__, cwd=finished, PYTHONPATH=str(repository))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, dict[str, tuple[int, list[str], float]]] = {}
    for line in ended.stdout.splitlines():
        content = json.loads(line)
        found.setdefault(content.pop("command"), {}).update(content)
    return found


@pytest.mark.parametrize("command", [*STAGES, "run"])
def test_every_stage_on_a_full_disk_is_one_line_and_goes_well_with_room(reported, record_property, command):
    code, lines, seconds = reported[command]["full"]
    record_property("seconds", seconds)
    assert code == 75, lines
    assert "No space left on device" in lines[-1]
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert reported[command]["room"][0] == 0, reported[command]["room"]


@pytest.mark.parametrize("command", [*STAGES, "run", "list"])
def test_every_stage_on_a_read_only_disk_is_one_line(reported, record_property, command):
    code, lines, seconds = reported[command]["read_only"]
    record_property("seconds", seconds)
    assert code == 75, lines
    assert lines[-1].startswith("error: ")
    assert "Read-only file system" in lines[-1]


@pytest.mark.parametrize(
    ("mounted", "command"),
    [
        ("the folder of temporary files", "train"),
        ("/dev/shm", "train"),  # Ray's object store
        (".dvc/cache", "run"),
        ("mlartifacts", "register"),
    ],
)
def test_a_full_disk_elsewhere(project, inside, until_answered, mounted, command):
    forget(project, "register", *(["train"] if command != "register" else []))
    (project / "mlartifacts").mkdir(exist_ok=True)
    shutil.rmtree(project / ".dvc" / "cache")
    environment = {}
    if mounted.startswith("the folder"):
        mounted = environment["TMPDIR"] = tempfile.mkdtemp()  # short: Ray's sockets lie below it
    script = """
mkdir -p "$1"
mount -t tmpfs -o size=64k tmpfs "$1"
dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null || true
exec "$2" -m headrace "$3" small
"""
    with until_answered():
        ended = inside(script, mounted, sys.executable, command, cwd=project, **environment)
    lines = (ended.stdout + ended.stderr).splitlines()
    if ended.returncode == 0:
        # Python takes another folder for temporary files, and Ray keeps its objects in its own.
        assert command == "train"
        return
    assert ended.returncode == 75, lines
    [line] = [line for line in lines if line.startswith("error: ")]
    assert "No space left on device" in line


@pytest.mark.parametrize(
    ("limit", "value"),
    [(resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_AS, 1_500_000_000)],
)
@pytest.mark.parametrize("command", ["train", "evaluate", "run"])
def test_with_little_each_stage_works_or_says_what_it_lacks(project, limit, value, command):
    forget(project, "train" if command != "evaluate" else "", "register" if command != "evaluate" else "")
    code, lines = headrace(project, command, "small", preexec_fn=lambda: resource.setrlimit(limit, (value, value)))
    if command == "train" and code in (-6, 134):
        return  # C++ code aborts, and nobody is there to say so
    assert code in (0, 75), lines
    if code:
        assert lines[-1].startswith("error: ")
        assert any(word in lines[-1] for word in ("memory", "Too many open files", "threads")), lines[-1]


@pytest.mark.parametrize("command", ["ingest", "train", "evaluate"])
def test_one_core_and_no_home_are_enough(project, command):
    forget(project, "train" if command == "train" else "")
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    ended = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-m", "headrace", command, "small"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["ä b'q\"", "two\nlines"])
def test_every_stage_works_in_an_odd_folder(finished, tmp_path, name):
    project = shutil.copytree(finished, tmp_path / name / "project", symlinks=True)
    forget(project, "train", "register")
    shutil.rmtree(project / "data")
    (project / "dvc.lock").unlink()
    code, lines = headrace(project, "run", "small")
    assert code == 0, lines
    code, lines = headrace(project, "predict", "small", "--input", "rows.csv")
    assert code == 0, lines


@pytest.fixture
def long_folder(finished, tmp_path) -> Iterator[Path]:
    yield shutil.copytree(finished, tmp_path.joinpath(*["long" * 50] * 4), symlinks=True)


def test_a_path_of_850_characters_is_enough_for_the_data_and_else_said(long_folder):
    for stage in ("ingest", "normalize", "split"):
        assert headrace(long_folder, stage, "small")[0] == 0
    code, lines = headrace(long_folder, "run", "small")
    assert code == 0 or lines[-1].startswith("error: "), lines


if __name__ == "__main__":
    on_a_full_and_a_read_only_disk(Path.cwd())
