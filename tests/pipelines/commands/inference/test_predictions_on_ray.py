"""`headrace predict --engine ray` on a real Ray: killed and continued, and on a cluster that loses a node."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headrace.pipelines.commands.inference.predictions import write_predictions

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FILES, ROWS = 16, 2000
UNLABELLED = ("toss", "spin", "metal")


@pytest.fixture
def folder(coins: Any, tmp_path: Path) -> Path:
    (tmp_path / "rows").mkdir()
    for place in range(FILES):
        rows = coins.tosses(ROWS, seed=place, first=ROWS * place)
        coins.write(tmp_path / "rows" / f"{place:02}.csv", rows, columns=UNLABELLED)
    return tmp_path


def start(coins: Any, folder: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "headrace", "predict", "coins", "--engine", "ray"]
    command += ["--input", str(folder / "rows"), "--output", str(folder / "predictions")]
    return subprocess.Popen(
        command,
        cwd=coins.root,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, *, code: int = 0) -> str:
    try:
        _, errors = process.communicate(timeout=280)
    finally:
        process.kill()
    assert process.returncode == code, errors
    return errors


def parts(folder: Path) -> dict[str, tuple[int, int]]:
    """The parts that have a record, and what says that their files were not written again."""
    records = (folder / "predictions" / "_headrace" / "parts").glob("*.json")
    files = [folder / "predictions" / file.name.removesuffix(".json") for file in records]
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen) -> dict[str, tuple[int, int]]:
    deadline_seconds = time.monotonic() + 200
    while len(found := parts(folder)) < count:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline_seconds
        time.sleep(0.005)
    return found


def require_each_row_once(coins: Any, folder: Path) -> None:
    """Every part is, to the bit, what its file's own prediction is here."""
    manifest = json.loads((folder / "predictions" / "manifest.json").read_text())
    assert manifest["rows"] == FILES * ROWS
    found = pl.concat([pl.read_parquet(folder / "predictions" / one["part"]) for one in manifest["parts"]])
    assert found["toss"].cast(pl.Int64).sort().to_list() == list(range(FILES * ROWS))
    alone = folder / "alone.parquet"
    write_predictions(
        coins.pipeline, coins.paths, input_file=folder / "rows" / "03.csv", output_file=alone, alias="champion"
    )
    assert pl.read_parquet(folder / "predictions" / "03.csv.parquet").equals(pl.read_parquet(alone))


def test_after_a_kill_only_what_is_missing_is_made_and_a_damaged_file_is_named(coins: Any, folder: Path) -> None:
    (folder / "rows" / "damaged.parquet").write_bytes(b"PAR1 and no more")
    killed = start(coins, folder)
    before = wait_for_parts(folder, 1, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert len(before) < FILES
    assert not (folder / "predictions" / "manifest.json").exists()

    errors = finish(start(coins, folder), code=2)
    [line] = [line for line in errors.splitlines() if "can't be predicted" in line]
    assert f"1 of {FILES + 1} parts can't be predicted" in line
    assert "damaged.parquet is a damaged Parquet file" in line
    all_others = parts(folder)
    assert len(all_others) == FILES
    assert all_others.items() >= before.items()
    assert not (folder / "predictions" / "manifest.json").exists()

    (folder / "rows" / "damaged.parquet").unlink()
    finish(start(coins, folder))
    assert parts(folder) == all_others
    require_each_row_once(coins, folder)


def test_a_node_that_is_lost_costs_no_row(coins: Any, folder: Path, ray_nodes: Any, free_ports: Any) -> None:
    nodes, [port] = ray_nodes(), free_ports(1)
    nodes.start(
        "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", f"--temp-dir={nodes.temporary}"
    )
    lost = nodes.start(f"--address=127.0.0.1:{port}", "--num-cpus=1")
    given = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": nodes.TOKEN}
    predict = start(coins, folder, **given)
    try:
        wait_for_parts(folder, 1, predict)
        for process in [*lost.children(recursive=True), lost]:
            process.kill()
        finish(predict)
    finally:
        predict.kill()
    require_each_row_once(coins, folder)
    assert not list((folder / "predictions").rglob("*.keras"))


def test_a_job_server_runs_it_as_a_job(coins: Any, folder: Path, ray_nodes: Any, free_ports: Any) -> None:
    nodes, [port, dashboard, agent, client] = ray_nodes(), free_ports(4)
    nodes.start(
        *("--head", f"--port={port}", "--num-cpus=2", f"--temp-dir={nodes.temporary}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
    )
    given = {
        "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_AUTH_TOKEN": nodes.TOKEN,
        "HEADRACE_OWNER": folder.name,
        "MLFLOW_TRACKING_URI": f"sqlite:///{coins.root / 'mlflow.db'}",
    }
    for file in sorted((folder / "rows").iterdir())[4:]:
        file.unlink()
    assert "job=predict-coins-" in finish(start(coins, folder, **given))
    manifest = json.loads((folder / "predictions" / "manifest.json").read_text())
    assert (manifest["rows"], manifest["version"]) == (4 * ROWS, 1)

    before = parts(folder)
    coins.write(folder / "rows" / "later.csv", coins.tosses(5, seed=99, first=10**6), columns=UNLABELLED)
    finish(start(coins, folder, **given))  # a new job: the first one knows nothing of this file
    assert parts(folder).items() >= before.items()
    assert json.loads((folder / "predictions" / "manifest.json").read_text())["rows"] == 4 * ROWS + 5
