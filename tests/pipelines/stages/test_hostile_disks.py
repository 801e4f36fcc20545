"""Ingest on a disk that is full at any moment of it, and on one that may not be written to: real file systems."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from headrace.components.examples import shards
from headrace.pipelines.__main__ import main
from headrace.pipelines.paths import PipelinePaths

NAMESPACE = ["unshare", "--map-root-user", "--mount"]
FREE_BYTES = (*range(0, 1 << 18, 1 << 14), 1 << 20)
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
    "split": {"validation_fraction": 0.1},
    "train": {
        "model": {"layers": []},
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "global_batch_size": 8,
        "epochs": 1,
    },
    "evaluate": {},
    "register": {"thresholds": {}, "compare": {"metric": "loss"}},
}
INSIDE = 'mount -t tmpfs -o size=8m tmpfs "$1" && cp -a project/. "$1" && cd "$1" && exec "$2" "$3"'


def write_rows(folder: Path, rows: int) -> None:
    random = np.random.default_rng(rows)
    table = pl.DataFrame({"size": random.normal(size=rows), "kind": random.choice(["big", "small"], rows)})
    table.write_csv(folder / "rows.csv")


def ingest() -> tuple[int, str]:
    """Exit code and standard error of `headrace ingest small`."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            sys.argv = ["headrace", "ingest", "small"]
            main()
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
    raise AssertionError("main always exits")


def fill(folder: Path, free_bytes: int) -> None:
    """Leave so many bytes of the disk."""
    (folder / "filler").unlink(missing_ok=True)
    found = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(found.f_bavail * found.f_frsize - free_bytes))


def attempts(folder: Path) -> None:
    """Print what became of each attempt, one JSON object a line: with ever more room, then on a read-only disk."""
    paths = PipelinePaths(folder, "small")
    write_rows(folder, 4000)
    for free_bytes in (*FREE_BYTES, None):
        if free_bytes is None:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        else:
            fill(folder, free_bytes)
        code, said = ingest()
        temporary = [str(one) for one in folder.rglob(".*") if not one.name.endswith(("headrace", ".lock", ".part"))]
        report = {"free": free_bytes, "code": code, "said": said, "temporary": temporary}
        sys.stdout.write(json.dumps(report | {"examples": shards.digest(paths.examples)}) + "\n")


@pytest.fixture
def project(tmp_path):
    """A folder below which a project has ingested a good version."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a file system of its own (unshare --map-root-user --mount)")
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["small"], "small": SECTION}))
    write_rows(root, 1000)
    subprocess.run([sys.executable, "-m", "headrace", "ingest", "small"], cwd=root, check=True, capture_output=True)
    return root


def test_a_disk_without_room_or_leave_is_one_line_and_leaves_a_whole_version(project, repository):
    before = shards.digest(project / "data" / "small" / "examples")
    (project.parent / "disk").mkdir()
    command = [*NAMESPACE, "sh", "-ec", INSIDE, "sh", project.parent / "disk", sys.executable, Path(__file__)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    ended = subprocess.run(
        command, cwd=project.parent, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    *full, read_only = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {report["code"] for report in full} == {75, 0}
    after = full[-1]["examples"]
    for report in full:
        assert report["temporary"] == []
        assert report["examples"] in ((before, after) if report["code"] else (after,))
        if report["code"]:
            assert report["said"].splitlines()[-1].startswith("error: No space left on device")
    assert (full[0]["code"], full[0]["examples"]) == (75, before)
    assert full[-1]["code"] == 0
    assert before != after
    assert (read_only["code"], read_only["examples"]) == (75, after)
    assert read_only["said"].splitlines()[-1].startswith("error: Read-only file system")


if __name__ == "__main__":
    attempts(Path.cwd())
