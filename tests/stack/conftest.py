"""A project in a clone of its own, on a running stack; HEADRACE_STACK names one that is up already."""

import itertools
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
from urllib.parse import quote

import boto3
import httpx
import psutil
import pytest
import yaml

from headrace.pipelines.project.workspace import _slug
from infra.stack.supervisor import read_record

PROGRAMS = Path(sys.executable).parent
DAG = "headrace_digits"
GIT = ("git", "-c", "user.name=Test", "-c", "user.email=test@localhost")
PATIENCE_SECONDS = 900.0  # of any one wait; a busy machine takes many times what an idle one does
NUMBERS = itertools.count(int(time.time()))  # each pipeline is another one, also on a stack that has seen many


@dataclass
class RunningStack:
    """The stack of a clone, called as a user would call it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict, repr=False)  # it has secrets

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
        """Airflow's answer; requested again while its server is away."""
        base = self.environment["AIRFLOW__API__BASE_URL"].rstrip("/")
        passwords = json.loads((self.folder / "data" / "airflow" / "passwords.json").read_text())
        deadline_seconds = time.monotonic() + PATIENCE_SECONDS
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

    def wait_for(self, reached: Callable[[], Any]) -> None:
        deadline_seconds = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert time.monotonic() < deadline_seconds
            time.sleep(1)

    def wait_for_dag(self, dag: str) -> None:
        self.wait_for(lambda: self.airflow("GET", f"/dags/{dag}").get("dag_id") == dag)

    def pause(self, dag: str, *, is_paused: bool) -> None:
        """While a DAG is paused, Airflow starts no task of it; those that run continue."""
        said = self.airflow("PATCH", f"/dags/{dag}", {"is_paused": is_paused})
        assert said.get("is_paused") is is_paused, said

    def trigger(self, conf: dict[str, Any], *, dag: str = DAG) -> "Run":
        self.pause(dag, is_paused=False)
        run = f"test-{time.time_ns()}"
        said = self.airflow("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})
        assert said.get("dag_run_id") == run, said
        return Run(self, dag, run)

    def runs(self, dag: str, run_type: str) -> list["Run"]:
        """All runs of a DAG that came about in this way: "manual", "scheduled", "backfill" or "asset_triggered"."""
        found = self.airflow("GET", f"/dags/{dag}/dagRuns?run_type={run_type}&order_by=run_after").get("dag_runs", [])
        return [Run(self, dag, one["dag_run_id"]) for one in found]

    def process(self, service: str) -> psutil.Process:
        """The first process of a service, by its place in the supervisor's record."""
        return psutil.Process(read_record(self.folder / "state.json").services[service].pid)

    def kill(self, service: str) -> None:
        self.process(service).send_signal(signal.SIGKILL)

    def jobs(self) -> list[dict[str, Any]]:
        """Ray's jobs, once its server answers."""
        token = (self.folder / "ray-token").read_text().strip()
        deadline_seconds = time.monotonic() + PATIENCE_SECONDS
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

    @property
    def mlflow(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.environment["MLFLOW_TRACKING_URI"])

    def mlflow_runs(self, pipeline: str = "digits") -> list[Any]:
        experiment = self.mlflow.get_experiment_by_name(f"headrace/{pipeline}")
        return list(self.mlflow.search_runs([experiment.experiment_id])) if experiment else []

    def epochs(self, run_id: str) -> list[int]:
        return [metric.step for metric in self.mlflow.get_metric_history(run_id, "loss")]

    @property
    def s3(self) -> Any:
        names = ("aws_access_key_id", "aws_secret_access_key")
        secrets = {name: self.environment[name.upper()] for name in names}
        return boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1", **secrets)

    def objects(self, bucket: str, prefix: str) -> dict[str, str]:
        """What a bucket holds: each object's key, and its MD5."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {one["Key"]: one["ETag"].strip('"') for page in pages for one in page.get("Contents", [])}


@dataclass
class Run:
    """One DAG run."""

    stack: RunningStack
    dag: str
    name: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag}/dagRuns/{quote(self.name, safe='')}"

    @property
    def workspace(self) -> Path:
        return self.stack.root / ".headrace" / "workspaces" / _slug(f"{self.dag}/{self.name}")

    def state(self) -> str:
        return str(self.stack.airflow("GET", self.path).get("state"))

    @property
    def day(self) -> str:
        """When its data interval begins."""
        return str(self.stack.airflow("GET", self.path)["data_interval_start"])[:10]

    def tasks(self) -> dict[str, tuple[str, int]]:
        found = self.stack.airflow("GET", f"{self.path}/taskInstances").get("task_instances", [])
        return {task["task_id"]: (task["state"], task["try_number"]) for task in found}

    def outputs(self) -> dict[str, str]:
        """The MD5 of each output of the run's stages, by path.

        Without those that DVC leaves to git, and without register's, which the registry itself has.
        """
        pipeline = self.dag.removeprefix("headrace_")
        stages = yaml.safe_load((self.workspace / "dvc.lock").read_text())["stages"]
        made = [stages[name]["outs"] for name in stages if name.endswith(f"@{pipeline}") and "register@" not in name]
        command = [*GIT, "for-each-ref", "--format=%(refname)", f"refs/exps/**/{self.workspace.name}"]
        [experiment] = subprocess.check_output(command, cwd=self.stack.root, text=True).splitlines()
        listed = [*GIT, "ls-tree", "-r", "-t", "-z", "--name-only", experiment]
        in_git = subprocess.check_output(listed, cwd=self.stack.root, text=True).split("\0")
        return {out["path"]: out["md5"] for outputs in made for out in outputs if out["path"] not in in_git}

    def not_in_s3(self) -> list[str]:
        """The outputs that DVC's remote does not have, or not whole; of a folder, each file and their list."""
        stored = self.stack.objects("headrace-dvc", "dvc/files/md5/")
        missing = []
        for path, md5 in self.outputs().items():
            files = {path: md5}
            if md5.endswith(".dir"):
                listed = self.stack.s3.get_object(Bucket="headrace-dvc", Key=dvc_key(md5))["Body"].read()
                files |= {f"{path}/{one['relpath']}": one["md5"] for one in json.loads(listed)}
            missing += [file for file, one in files.items() if stored.get(dvc_key(one)) != one.removesuffix(".dir")]
        return missing

    def log(self, task: str, number: int = 1) -> str:
        said = self.stack.airflow("GET", f"{self.path}/taskInstances/{task}/logs/{number}?full_content=true")
        return "\n".join(f"{line.get('event')} {line.get('error_detail') or ''}" for line in said.get("content", []))

    def wait(self, reached: Callable[["Run"], bool]) -> None:
        deadline_seconds = time.monotonic() + PATIENCE_SECONDS
        while not reached(self):
            assert time.monotonic() < deadline_seconds, (self.state(), self.tasks(), self.log("train"))
            time.sleep(1)

    def wait_for_end(self) -> str:
        self.wait(lambda run: run.state() in ("success", "failed"))
        return self.state()

    def wait_for_epoch(self, epoch: int) -> None:
        """Until the log of the deferred task shows that an epoch is done."""
        self.wait(lambda run: f"epoch {epoch}/" in run.log("train"))


def dvc_key(md5: str) -> str:
    """Where DVC's remote has the file, or the list of a folder's files."""
    return f"dvc/files/md5/{md5[:2]}/{md5[2:]}"


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
def stack(repository: Path, copy_repository: Callable[[Path], Path]) -> Iterator[RunningStack]:
    if given := os.environ.get("HEADRACE_STACK"):
        running = RunningStack(Path(given), environment_of(Path(given) / ".stack"))
        use_s3(running)
        yield running
        return
    parent = Path(tempfile.mkdtemp(prefix="headrace-stack-"))
    parent.chmod(0o711)  # PostgreSQL's user has to pass where the tests run as root
    root = parent / "clone"
    root.mkdir()
    copy_repository(root)
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Copy"]):
        subprocess.run([*GIT, *command], cwd=root, check=True)
    up = [sys.executable, "-m", "infra.stack", "up"]
    given = {**os.environ, "HEADRACE_MIRROR": str(repository.parent / "shared" / "data")}
    done = subprocess.run(up, cwd=root, env=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    running = RunningStack(root, environment_of(root / ".stack"))
    use_s3(running)
    running.wait_for_dag(DAG)  # Airflow answers before it has read them
    yield running
    subprocess.run([sys.executable, "-m", "infra.stack", "down"], cwd=root, timeout=600, check=True)
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def add_pipeline(stack: RunningStack) -> Iterator[Callable[[str, dict[str, Any]], str]]:
    """Makes a section of the clone's params.yaml, commits it, waits for its DAG, and returns the pipeline's name."""
    file = stack.root / "params.yaml"
    before = file.read_text()
    made: list[str] = []

    def add(kind: str, section: dict[str, Any]) -> str:
        name = f"{kind}_{next(NUMBERS)}"
        commit_params(stack, before.replace("pipelines: [", f"pipelines: [{name}, ", 1), {name: section})
        dags = [f"headrace_{name}", *([f"headrace_{name}_predict"] if "predict" in section["schedule"] else [])]
        made.extend(dags)
        for dag in dags:
            stack.wait_for_dag(dag)
        return name

    yield add
    for dag in made:
        stack.pause(dag, is_paused=True)  # a scheduled run would wait for its data beside all later tests
    commit_params(stack, before, {})


def commit_params(stack: RunningStack, text: str, sections: dict[str, Any]) -> None:
    (stack.root / "params.yaml").write_text(text + (f"\n{yaml.safe_dump(sections)}" if sections else ""))
    subprocess.run([*GIT, "commit", "--quiet", "--all", "--message", "Params"], cwd=stack.root, check=True)
