"""Fixtures of every test."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import structlog

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """No test sees a user's services, or variables that another test (or MLflow) has set."""
    before = dict(os.environ)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HEADRACE_MIRROR"):
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Log lines go to the test's own output, wherever `main()`, a page of the tutorial or Airflow has sent them."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()  # before fixtures of a module, which come before this one


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def copy_repository() -> Callable[[Path], Path]:
    """Copy what git would keep of the repository, changes and new files too, into a repository of its own."""

    def copy(root: Path) -> Path:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (REPOSITORY / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, root / name, follow_symlinks=False)
        subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
        return root

    return copy


@pytest.fixture(scope="session")
def copy_model_files() -> Callable[[Path], None]:
    """Copy the model files of the repository, without which its params.yaml is not valid elsewhere."""

    def copy(root: Path) -> None:
        (root / "models").mkdir()
        for file in (REPOSITORY / "models").glob("*.py"):
            shutil.copy(file, root / "models")

    return copy


@pytest.fixture(scope="session")
def headrace() -> Callable[..., str]:
    """Run a command in a project, whose parent is its HOME; it must end well, and gives all that it prints."""

    def run(root: Path, *arguments: str | Path, **environment: str) -> str:
        ended = subprocess.run(
            [Path(sys.executable).with_name("headrace"), *arguments],
            cwd=root,
            env={**os.environ, "HOME": str(root.parent), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=500,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    return run


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small files that readers of other projects got wrong."""
    return REPOSITORY / "tests" / "cases"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the repository, laid out as HEADRACE_MIRROR expects."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "mnist").is_dir():
        pytest.skip(f"needs the data sets in {folder}, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    def choose(count: int) -> list[int]:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()
        return ports

    return choose


@dataclass(frozen=True)
class Request:
    """What a client of `web_server` has sent."""

    method: str
    path: str
    headers: HTTPMessage
    content: bytes


@pytest.fixture(scope="session")
def web_server() -> Callable[[Callable[[Request], tuple[int, bytes]]], AbstractContextManager[str]]:
    """Serve HTTP for a block, which gets the address; a function of each request gives status and content."""

    @contextmanager
    def serve(answer: Callable[[Request], tuple[int, bytes]]) -> Iterator[str]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = answer(Request(self.command, self.path, self.headers, sent))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815, a name of http.server

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()

    return serve


@pytest.fixture
def until_answered(record_property) -> Callable[[], AbstractContextManager[None]]:
    """Measure a block from a fault until it is found or answered, for docs/reliability.md (`make reliability`)."""

    @contextmanager
    def measure() -> Iterator[None]:
        started_seconds = time.monotonic()
        yield
        record_property("seconds", round(time.monotonic() - started_seconds, 1))

    return measure


@pytest.fixture
def read_only() -> Callable[[Path], AbstractContextManager[None]]:
    """Make a folder read-only for a block, by a bind mount: modes do not bind root."""

    @contextmanager
    def bind(folder: Path) -> Iterator[None]:
        if subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True).returncode:
            pytest.skip("needs to mount, which only root may")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            yield
        finally:
            subprocess.run(["umount", folder], check=True)

    return bind


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of a PostgreSQL server of the tests' own, on a Unix socket of a folder that only they know."""
    from headrace.components.errors import ServiceError
    from infra.stack.postgres import program, server_user
    from infra.stack.services import run_as

    try:
        initdb, server, user = program("initdb"), program("postgres"), server_user()
    except ServiceError as error:
        pytest.skip(f"needs PostgreSQL: {error}")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path has at most 107 bytes
    try:
        (folder / "password").write_text("tests only")
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        made = [initdb, "-D", folder / "data", "-U", "postgres", f"--pwfile={folder / 'password'}", "--no-sync"]
        made += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        subprocess.run(made, **run_as(user), cwd=folder, capture_output=True, check=True)
        options = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=20"]
        command = [server, "-D", folder / "data", *(word for option in options for word in ("-c", option))]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, **run_as(user), cwd=folder, stdout=log, stderr=log) as process,
        ):
            address = f"postgresql://postgres:tests%20only@/postgres?host={folder}"
            try:
                _wait_for(address, process)
                yield address
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(30)
    finally:
        shutil.rmtree(folder)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    import psycopg2

    for _ in range(300):
        assert process.poll() is None, "the server has ended"
        try:
            psycopg2.connect(address).close()
        except psycopg2.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")
