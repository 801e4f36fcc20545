"""Training as a job on a Ray cluster whose nodes share no folder with the project: only code, a storage and MLflow."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow
TOKEN = "0" * 64


class JobServer:
    """A cluster of a head without cores and two nodes of one core each, with its job server."""

    def __init__(self, home: Path) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie below it
        programs = Path(sys.executable).parent
        self._environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        self._environment |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        self._environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self.port, dashboard, agent, client = free_ports(4)
        self.address = f"http://127.0.0.1:{dashboard}"
        head = ["--head", f"--port={self.port}", "--num-cpus=0", f"--temp-dir={self._temporary}"]
        dashboards = [
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}",
        ]
        self._processes = [self._start(*head, *dashboards, f"--dashboard-agent-listen-port={agent}")]
        self._processes += [self._start(f"--address=127.0.0.1:{self.port}", "--num-cpus=1") for _ in range(2)]

    def stop(self) -> None:
        for process in reversed(self._processes):
            for one in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                one.kill()
            process.kill()
            process.wait(30)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def drivers(self) -> list[psutil.Process]:
        """The trainings under way, each a `headrace train` of a job."""
        head = psutil.Process(self._processes[0].pid)
        return [
            one
            for one in head.children(recursive=True)
            if "train" in one.cmdline() and "headrace" in str(one.cmdline())
        ]

    def _start(self, *options: str) -> subprocess.Popen:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address=127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--object-store-memory=100000000", *options],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_seconds = time.monotonic() + 60
        while not any(child.name() == "raylet" for child in psutil.Process(process.pid).children(recursive=True)):
            assert time.monotonic() < deadline_seconds
            time.sleep(0.2)
        return process


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = JobServer(tmp_path_factory.mktemp("home"))
    yield made
    made.stop()


@pytest.fixture
def away(server, tmp_path):
    """The environment by which a training goes to the cluster."""
    return {
        "RAY_ADDRESS": server.address,
        "RAY_AUTH_TOKEN": TOKEN,
        "HEADRACE_STORAGE": str(tmp_path / "storage"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }


def test_a_job_trains_what_one_here_trains_and_leaves_it_here(undisturbed, disturbed, away, tmp_path):
    code, output = disturbed.train(**away)
    assert code == 0, output
    os.environ["MLFLOW_TRACKING_URI"] = away["MLFLOW_TRACKING_URI"]
    try:
        disturbed.assert_as_undisturbed(undisturbed)
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
    run = json.loads(disturbed.paths.run.read_text())
    assert run["ray_job_id"].startswith(run["run_name"])
    assert output.count("epoch 6/6") == 1
