"""The data steps as tasks of a Ray cluster: the same rows, also where a node is lost on the way."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PROGRAM = """
import sys
from headrace.components.examples import shards
from headrace.components.sources.delimited import reader
from headrace.pipelines.__main__ import main
shards.SHARD_BYTES = 1 << 18  # many short blocks and shards
reader._block_bytes = lambda columns: 1 << 16
main()
"""


@pytest.fixture
def project(tmp_path):
    """A table of 60,000 rows in a project of its own, some of which are not good."""
    random = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "id": np.arange(60_000),
            "level": random.normal(size=60_000).round(6),
            "weather": random.choice(["fog", "rain", "sun"], 60_000),
            "flow": random.random(60_000).round(6),
        }
    )
    content = table.write_csv().replace("\n7,", "\nseven,", 1).replace("rain", "hail", 3).encode()
    (tmp_path / "flow.csv").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    file = {"name": "flow.csv", "url": str(tmp_path / "flow.csv"), "sha256": sha256}
    section = {
        "description": "Flow by level",
        "ingest": {
            "source": {"kind": "delimited", "dataset": "flow", "parts": [{"files": [file]}]},
            "key": ["id"],
            "features": {
                "level": {"type": "number"},
                "weather": {"type": "category", "classes": ["fog", "rain", "sun"]},
            },
            "label": {"type": "number", "name": "flow"},
            "max_bad_fraction": 0.1,
        },
        "normalize": {"transforms": {"level": [{"kind": "standardize"}], "weather": [{"kind": "one_hot"}]}},
        "split": {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.2},
        "train": {
            "model": {"layers": []},
            "optimizer": {"kind": "adam", "learning_rate": 0.05},
            "global_batch_size": 32,
            "epochs": 1,
        },
        "evaluate": {},
        "register": {"thresholds": {}, "compare": {"metric": "root_mean_squared_error"}},
    }
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["flow"], "flow": section}))
    return tmp_path


def start(folder: Path, repository: Path, stage: str, *options: str, **environment: str) -> subprocess.Popen:
    given = {**os.environ, "PYTHONPATH": str(repository), **environment}
    command = [sys.executable, "-c", PROGRAM, stage, "flow", *options]
    return subprocess.Popen(command, cwd=folder, env=given, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> None:
    try:
        _, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, errors


def contents(folder: Path) -> dict[str, bytes]:
    below = folder / "data"
    return {str(path.relative_to(below)): path.read_bytes() for path in below.rglob("*") if path.is_file()}


def test_ray_gives_the_same_bytes_as_threads(project, repository):
    for stage in ("ingest", "normalize", "split"):
        finish(start(project / "here", repository, stage))
    for stage in ("ingest", "normalize", "split"):
        finish(start(project / "there", repository, stage, "--engine", "ray"))
    here, there = contents(project / "here"), contents(project / "there")
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert len([name for name in here if name.startswith("flow/examples/")]) > 3


def test_a_node_that_is_lost_changes_nothing(project, repository, ray_nodes, free_ports):
    nodes, [port] = ray_nodes(), free_ports(1)
    nodes.start(
        "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", f"--temp-dir={nodes.temporary}"
    )
    lost = nodes.start(f"--address=127.0.0.1:{port}", "--num-cpus=1")
    given = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": nodes.TOKEN}
    finish(start(project / "here", repository, "ingest"))
    ingest = start(project / "there", repository, "ingest", **given)
    try:
        wait_for_runs(project / "there", ingest)
        for process in [*lost.children(recursive=True), lost]:
            process.kill()
        finish(ingest)
    finally:
        ingest.kill()
    assert contents(project / "here") == contents(project / "there")


def wait_for_runs(folder: Path, process: subprocess.Popen) -> None:
    deadline_seconds = time.monotonic() + 100
    while len(list((folder / ".headrace" / "ingest" / "flow").rglob("*.arrow"))) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline_seconds
        time.sleep(0.01)
    assert psutil.pid_exists(process.pid)
