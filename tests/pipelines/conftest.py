"""Fixtures of more than one room: an empty MLflow store, a server of S3's API, a Ray head with its job server."""

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import boto3
import psutil
import pytest

from headrace.components.errors import ServiceError
from headrace.pipelines.ray_jobs.jobs import Cluster, RayJobs
from headrace.pipelines.tracking.mlflow_runs import add_to_run, open_run
from headrace.pipelines.tracking.server import connect

TOKEN = "0123456789abcdef" * 4
S3_KEY = "the-key-of-a-test"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Head:
    """A Ray head with its job server."""

    def __init__(self, home: Path) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie below it
        dashboard = free_port()
        self.cluster = Cluster(f"http://127.0.0.1:{dashboard}", token=TOKEN)
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--head", "--num-cpus=1"]
        command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--object-store-memory=100000000"]
        command += [f"--port={free_port()}", f"--dashboard-port={dashboard}", f"--temp-dir={self._temporary}"]
        command += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        environment = {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        environment |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        self._process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def wait(self) -> None:
        deadline = time.monotonic() + 90
        async with RayJobs(self.cluster, timeout_seconds=5) as server:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    await server.ship(b"is the head up?")
                    await server.list()
                    return
                except ServiceError:
                    await asyncio.sleep(0.5)
        raise AssertionError("no Ray within 90 s")

    def kill(self, name: str) -> None:
        [process] = [one for one in psutil.Process(self._process.pid).children(recursive=True) if name in one.name()]
        process.kill()

    def stop(self) -> None:
        for one in psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []:
            one.kill()
        self._process.kill()
        self._process.wait(30)
        shutil.rmtree(self._temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    started = Head(tmp_path_factory.mktemp("home"))
    try:
        asyncio.run(started.wait())
        yield started
    finally:
        started.stop()


def processes_of_session(leader: int, name: str = "") -> list[int]:
    """Living processes that a process has started, with `name` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z" and name in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return sorted(found)


@pytest.fixture(scope="session")
def session_processes():
    return processes_of_session


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An MLflow database with nothing in it: to make one takes more than a second, to copy it nothing."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("store")
        connect(root)
        with closing(sqlite3.connect(root / "mlflow.db")) as store:  # of no place yet: a copy is not a moved project
            store.execute("UPDATE headrace_store SET artifacts_uri = NULL")
            store.commit()
        return root / "mlflow.db"


def register_version(root: Path, text: str) -> str:
    """A run with an artifact, and a logged model that is registered as a version of `small`; not a real one."""
    run_id = open_run(root, experiment="headrace/small", run_name="a run", tags={}, params={})
    file = root / "report.html"
    file.write_text(text)
    add_to_run(root, run_id, metrics={}, artifacts=[file], artifact_path="evaluation")
    client = connect(root)
    logged = client.create_logged_model(client.get_run(run_id).info.experiment_id, name="small", source_run_id=run_id)
    folder = root / "packaged"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "model.keras").write_text(text)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    if not client.search_registered_models():
        client.create_registered_model("small")
    client.create_model_version("small", logged.artifact_location, run_id, {}, model_id=logged.model_id)
    connect(root)  # which notes the version
    return run_id


@pytest.fixture(scope="session")
def register() -> Callable[[Path, str], str]:
    return register_version


@pytest.fixture(scope="session")
def registered(tmp_path_factory, empty_store) -> Path:
    """A project with one registered version. Copy it before a change."""
    root = tmp_path_factory.mktemp("registered") / "a project"
    root.mkdir()
    shutil.copy(empty_store, root)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        register_version(root, "first")
    return root


@pytest.fixture
def project_root(tmp_path, monkeypatch, empty_store) -> Path:
    """A project's root, with a space in its path and an empty MLflow database of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "a project"
    root.mkdir()
    shutil.copy(empty_store, root)
    return root


class Bucket(BaseHTTPRequestHandler):
    """What clients use of S3's API: objects are files below the server's folder, buckets its folders."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        query, file = parse_qs(place.query, keep_blank_values=True), self.server.folder / unquote(place.path).strip("/")
        if not self.is_allowed():
            return
        if "list-type" in query:
            self.answer(200, self.listing(file, {name: values[0] for name, values in query.items()}))
        elif not file.is_file():
            self.answer(404, "<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>")
        else:
            self.send(file.read_bytes())

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        file = self.server.folder / unquote(urlsplit(self.path).path).strip("/")
        if not self.is_allowed():
            return
        if self.headers.get("Content-Encoding") == "aws-chunked":
            self.answer(501, "<Error><Code>NotImplemented</Code><Message>chunks</Message></Error>")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.answer(200, "")

    def is_allowed(self) -> bool:
        if (self.server.folder / "away").exists():  # which a test makes
            self.answer(503, "<Error><Code>ServiceUnavailable</Code><Message>not now</Message></Error>")
            return False
        if f"Credential={S3_KEY}/" in self.headers.get("Authorization", ""):
            return True
        self.answer(403, "<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>")
        return False

    def send(self, content: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if found is None:
            self.answer(200, content)
            return
        begin = int(found[1]) if found[1] else len(content) - int(found[2])
        end = min(int(found[2]) + 1 if found[1] and found[2] else len(content), len(content))
        self.answer(206, content[begin:end], {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"})

    def listing(self, bucket: Path, query: dict[str, str]) -> str:
        prefix, after, delimiter = (query.get(name, "") for name in ("prefix", "start-after", "delimiter"))
        files = sorted(one for one in bucket.rglob("*") if one.is_file())
        sizes = {one.relative_to(bucket).as_posix(): one.stat().st_size for one in files}
        keys = [key for key in sizes if key.startswith(prefix) and key > after]
        below = [key for key in keys if delimiter and delimiter in key[len(prefix) :]]
        folders = dict.fromkeys(prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter for key in below)
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{sizes[key]}</Size><ETag>1</ETag>"
            "<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
            for key in keys
            if key not in below
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{prefixes}</ListBucketResult>"

    def answer(self, code: int, content: str | bytes, headers: dict[str, str] | None = None) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(code)
        for name, value in {
            "Content-Length": str(len(body)),
            "ETag": '"1"',
            "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT",
            "x-amz-bucket-region": "eu-1",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Address of a server of S3's API, and the folder whose folders are its buckets; the environment has its key."""
    keys = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-1"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the keys that it has found once
    (tmp_path / "buckets").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        server.folder = tmp_path / "buckets"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server.folder
        server.shutdown()


@pytest.fixture
def endpoint(s3: tuple[str, Path]) -> str:
    """Address of a server whose bucket `lake` is a folder; the environment has its key."""
    address, buckets = s3
    (buckets / "lake").mkdir()
    return address


class RayNodes:
    """Nodes of one Ray cluster with token authentication, each a `ray start` of its own."""

    TOKEN = "0" * 64

    def __init__(self, home: Path) -> None:
        self.temporary = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie below it
        self._processes: list[subprocess.Popen] = []
        programs = Path(sys.executable).parent
        self._environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.TOKEN}
        self._environment |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        self._environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def start(self, *options: str) -> psutil.Process:
        """Start a node; return its raylet."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address=127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--object-store-memory=100000000", *options],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        deadline_seconds = time.monotonic() + 60
        while time.monotonic() < deadline_seconds:
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.name() == "raylet":
                    return child
            time.sleep(0.2)
        raise AssertionError("no raylet within 60 s")

    def stop(self) -> None:
        for process in reversed(self._processes):
            for one in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                one.kill()
            process.kill()
            process.wait(30)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_nodes(tmp_path_factory) -> Iterator[Callable[[], RayNodes]]:
    """Makes clusters, which are stopped with the module at the latest."""
    made = []

    def make() -> RayNodes:
        made.append(RayNodes(tmp_path_factory.mktemp("home")))
        return made[-1]

    yield make
    for nodes in made:
        nodes.stop()


class JobServer:
    """A cluster of a head without cores and two nodes of one core each, with its job server."""

    def __init__(self, nodes: RayNodes, ports: list[int]) -> None:
        port, dashboard, agent, client = ports
        self.temporary = nodes.temporary
        self.address = f"http://127.0.0.1:{dashboard}"
        head = ["--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={nodes.temporary}"]
        head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        head += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
        self._head = nodes.start(*head).parent()
        for _ in range(2):
            nodes.start(f"--address=127.0.0.1:{port}", "--num-cpus=1")

    def drivers(self) -> list[psutil.Process]:
        """The trainings under way, each a `headrace train` of a job."""
        commands = {one: one.cmdline() for one in self._head.children(recursive=True)}
        return [one for one, command in commands.items() if "train" in command and "headrace" in str(command)]


@pytest.fixture(scope="module")
def job_server(ray_nodes: Callable[[], RayNodes], free_ports: Callable[[int], list[int]]) -> JobServer:
    return JobServer(ray_nodes(), free_ports(4))
