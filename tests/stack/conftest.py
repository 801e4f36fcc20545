"""A project in a clone of its own, on a running stack; HEADRACE_STACK names one that is up already."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.stack.supervisor import read_record

PROGRAMS = Path(sys.executable).parent
DAG = "headrace_digits"


@dataclass
class RunningStack:
    """The stack of a clone, asked as a person would ask it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.root / ".stack"

    def call(self, *command: str) -> str:
        given = {**os.environ, **self.environment}
        done = subprocess.run(
            command, cwd=self.root, env=given, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def airflow(self, method: str, path: str, content: Any = None) -> Any:
        """Airflow's answer; asked again while its server is away."""
        base = self.environment["AIRFLOW__API__BASE_URL"].rstrip("/")
        passwords = json.loads((self.folder / "data" / "airflow" / "passwords.json").read_text())
        deadline_seconds = time.monotonic() + 120
        while True:
            try:
                said = {"username": "admin", "password": passwords["admin"]}
                token = httpx.post(f"{base}/auth/token", json=said, timeout=10).json()["access_token"]
                headers = {"Authorization": f"Bearer {token}"}
                answer = httpx.request(method, f"{base}/api/v2{path}", json=content, headers=headers, timeout=20)
                if answer.status_code < 500:
                    return answer.json() if answer.content else {}
            except (httpx.TransportError, ValueError, KeyError):
                pass
            assert time.monotonic() < deadline_seconds, f"Airflow does not answer {path}"
            time.sleep(1)

    def trigger(self, run: str, conf: dict[str, Any], *, dag: str = DAG) -> "Run":
        self.airflow("PATCH", f"/dags/{dag}", {"is_paused": False})
        said = self.airflow("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})
        assert said.get("dag_run_id") == run, said
        return Run(self, dag, run)

    def process(self, service: str) -> psutil.Process:
        """The first process of a service, by its place in the supervisor's record."""
        return psutil.Process(read_record(self.folder / "state.json").services[service].pid)

    def kill(self, service: str) -> None:
        self.process(service).send_signal(signal.SIGKILL)

    def jobs(self) -> list[dict[str, Any]]:
        """Ray's jobs, once its server answers."""
        token = (self.folder / "ray-token").read_text().strip()
        deadline_seconds = time.monotonic() + 120
        while True:
            try:
                address = self.environment["RAY_ADDRESS"]
                answer = httpx.get(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=20)
                if answer.status_code == 200:
                    return [job for job in answer.json() if job["type"] == "SUBMISSION"]
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline_seconds
            time.sleep(1)

    def mlflow_runs(self) -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.environment["MLFLOW_TRACKING_URI"])
        experiment = client.get_experiment_by_name("headrace/digits")
        return list(client.search_runs([experiment.experiment_id])) if experiment else []

    def epochs(self, run_id: str) -> list[int]:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.environment["MLFLOW_TRACKING_URI"])
        return [metric.step for metric in client.get_metric_history(run_id, "loss")]


@dataclass
class Run:
    """One DAG run."""

    stack: RunningStack
    dag: str
    name: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag}/dagRuns/{self.name}"

    def state(self) -> str:
        return str(self.stack.airflow("GET", self.path).get("state"))

    def tasks(self) -> dict[str, tuple[str, int]]:
        found = self.stack.airflow("GET", f"{self.path}/taskInstances").get("task_instances", [])
        return {task["task_id"]: (task["state"], task["try_number"]) for task in found}

    def log(self, task: str, number: int = 1) -> str:
        said = self.stack.airflow("GET", f"{self.path}/taskInstances/{task}/logs/{number}?full_content=true")
        return "\n".join(f"{line.get('event')} {line.get('error_detail') or ''}" for line in said.get("content", []))

    def wait(self, reached: Callable[["Run"], bool], seconds: float) -> None:
        deadline_seconds = time.monotonic() + seconds
        while not reached(self):
            logs = [self.log("train", number) for number in (1, 2)]
            assert time.monotonic() < deadline_seconds, (self.state(), self.tasks(), logs)
            time.sleep(1)

    def wait_for_end(self, seconds: float = 240) -> str:
        self.wait(lambda run: run.state() in ("success", "failed"), seconds)
        return self.state()

    def wait_for_epoch(self, epoch: int, seconds: float = 120) -> None:
        """Until the log of the deferred task shows that an epoch is done."""
        self.wait(lambda run: f"epoch {epoch}/" in run.log("train"), seconds)


def clone(repository: Path, root: Path) -> None:
    """What git would keep, changes and new files too, as a repository of its own."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=repository, capture_output=True, text=True, check=True).stdout.split("\0")
    for file in filter(None, files):
        if (repository / file).is_file():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / file, root / file)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Copy"]):
        subprocess.run([*git, *command], cwd=root, check=True)


def environment_of(folder: Path) -> dict[str, str]:
    """What a shell makes of the file `environment`."""
    command = ["env", "-i", "bash", "-c", f". '{folder}/environment' && env -0"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    found = dict(line.split("=", 1) for line in lines if line)
    return {**found, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}


def use_s3(stack: RunningStack) -> None:
    """DVC's remote is the stack's bucket, for this clone alone."""
    dvc = [str(PROGRAMS / "dvc"), "remote"]
    stack.call(*dvc, "add", "--force", "--local", "--default", "stack", "s3://headrace-dvc/dvc")
    settings = {"endpointurl": stack.environment["AWS_ENDPOINT_URL"], "verify": "true", "read_timeout": "60"}
    for name, value in {**settings, "connect_timeout": "10"}.items():
        stack.call(*dvc, "modify", "--local", "stack", name, value)


@pytest.fixture(scope="session")
def stack(repository: Path) -> Iterator[RunningStack]:
    if given := os.environ.get("HEADRACE_STACK"):
        yield RunningStack(Path(given), environment_of(Path(given) / ".stack"))
        return
    parent = Path(tempfile.mkdtemp(prefix="headrace-stack-"))
    parent.chmod(0o711)  # PostgreSQL's user has to pass where the tests run as root
    root = parent / "clone"
    root.mkdir()
    clone(repository, root)
    up = [sys.executable, "-m", "infra.stack", "up"]
    done = subprocess.run(up, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    running = RunningStack(root, environment_of(root / ".stack"))
    use_s3(running)
    yield running
    subprocess.run([sys.executable, "-m", "infra.stack", "down"], cwd=root, timeout=600, check=True)
    shutil.rmtree(parent, ignore_errors=True)
