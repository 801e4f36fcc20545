"""A registry that a server has, over HTTP: its artifacts through the server, or in a bucket that clients write to."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from headrace.pipelines.paths import ProjectPaths

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

EQUAL = "made again: equal: the same data, weights, predictions and metrics, bit for bit"


@dataclass(frozen=True)
class Server:
    """Its address, and the folder in which its artifacts are in the end."""

    address: str
    artifacts: Path

    def artifact(self, name: str) -> Path:
        """The one file of that name among the artifacts of versions."""
        [file] = [file for file in self.artifacts.rglob(name) if "models" in file.parts]
        return file


@pytest.fixture(params=["through the server", "in a bucket"])
def server(request, tmp_path, empty_store, free_ports, s3, monkeypatch) -> Iterator[Server]:
    folder, [port] = tmp_path / "a server", free_ports(1)
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    address, buckets = s3
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    if request.param == "in a bucket":
        (buckets / "mlflow").mkdir()
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", address)
        command += ["--no-serve-artifacts", "--default-artifact-root", "s3://mlflow/artifacts"]
        artifacts = buckets / "mlflow"
    else:
        command += ["--artifacts-destination", str(folder / "files")]
        artifacts = folder / "files"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield Server(f"http://127.0.0.1:{port}", artifacts)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"{address} does not answer: {log.read_text()[-2000:]}")


def test_lineage_card_diff_and_the_model_again(empty_project, server, tmp_path):
    from headrace.pipelines.tracking.server import connect

    first = empty_project
    first.headrace("run", "line")
    client = connect(first.root)
    [version] = client.search_model_versions("name = 'line'")
    assert version.description.startswith("# line, version 1")
    assert "<h1>line, version 1</h1>" in server.artifact("model_card.html").read_text()
    record = json.loads(server.artifact("provenance.json").read_text())
    assert record["stages"].keys() == {"ingest", "normalize", "split", "train", "evaluate", "register"}

    said = first.headrace("lineage", "line@champion")
    assert said.splitlines()[-1] == "line:1: every link that can be checked is as it was"
    said = first.headrace("diff", "line:1", version.run_id)
    assert all(f"{part}: no difference" in said for part in ("data", "params", "code", "packages")), said
    assert "root_mean_squared_error" in said
    assert "+0, 95 % from +0 to +0 (60 rows" in said

    first.commit("What the run has made")
    first.program("dvc", "push", "--quiet")
    subprocess.run(["git", "clone", "--quiet", str(first.root), str(tmp_path / "other")], check=True)
    other = replace(first, root=tmp_path / "other")
    other.program("dvc", "pull", "--quiet", "data/line/raw", "reports/line/outcomes.parquet")
    runs = client.search_runs([client.get_run(version.run_id).info.experiment_id])
    said = other.headrace("reproduce", "line@champion")
    assert said.splitlines()[-1] == f"line:1, {EQUAL}"
    assert len(client.search_runs([runs[0].info.experiment_id])) == len(runs)
    assert not (other.root / "mlflow.db").exists()

    for name, link in (("model.keras", "version"), ("provenance.json", "record")):
        shutil.rmtree(ProjectPaths(first.root).downloaded_models, ignore_errors=True)
        file = server.artifact(name)
        content = file.read_bytes()
        file.unlink()
        before = files_of_the_user(first.root)
        assert f"missing  {link} " in first.headrace("lineage", "line", code=2)
        assert f"error: {link} missing:" in first.headrace("reproduce", "line", code=2)
        assert files_of_the_user(first.root) == before
        file.write_bytes(content)
    client.delete_run(version.run_id)
    assert f"missing  run         {version.run_id} is deleted" in first.headrace("lineage", "line", code=2)


def files_of_the_user(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if ".headrace" not in path.parts)
