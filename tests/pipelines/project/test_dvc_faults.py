"""DVC is killed while it commits or pushes, or its remote fails: nothing is lost, and it ends in bounded time."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ServiceError
from headrace.pipelines.project import command_lines as commands
from headrace.pipelines.project.command_lines import dvc, git
from headrace.pipelines.project.dvc import repro as run_stage
from headrace.pipelines.project.object_digests import verify

FILES = 40


class Remote(ThreadingHTTPServer):
    """A remote of DVC over HTTP that can be slow, refuse uploads, or not answer at all."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.mode = "well"
        self.released = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Remote

    def _file(self) -> Path:
        return self.server.folder / self.path.lstrip("/")

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.server.mode == "hung":
            self.server.released.wait(60)
        self._answer(200, self._file().read_bytes()) if self._file().is_file() else self._answer(404)

    def do_PUT(self) -> None:
        chunks = iter(lambda: self.rfile.read(int(self.rfile.readline(), 16) + 2)[:-2], b"")
        length = self.headers.get("Content-Length")
        content = self.rfile.read(int(length)) if length else b"".join(chunks)
        if self.server.mode == "failing":
            self._answer(500)
            return
        if self.server.mode == "slow":
            time.sleep(0.2)
        self._file().parent.mkdir(parents=True, exist_ok=True)
        (part := self._file().with_suffix(f".{threading.get_ident()}.part")).write_bytes(content)
        part.rename(self._file())
        self._answer(200)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    server = Remote(tmp_path / "remote")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "a project"
    root.mkdir()
    code = f"mkdir -p data && for i in $(seq {FILES}); do echo $i > data/$i; done"
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": {"cmd": code, "outs": ["data"]}}}))
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    return root


@pytest.fixture
def project(template: Path, remote: Remote, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(template, tmp_path / "a project"))
    (root / ".dvc" / "config").write_text(
        f"[core]\nremote = web\nsite_cache_dir = {root / '.dvc' / 'tmp' / 'site'}\n"
        f"['remote \"web\"']\nurl = http://127.0.0.1:{remote.server_port}\nmethod = PUT\nverify = true\njobs = 2\n"
    )
    return root


def start(project: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("dvc")), *arguments]
    return subprocess.Popen(
        command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def stored(remote: Remote) -> list[Path]:
    return [file for file in remote.folder.rglob("*") if file.is_file() and not file.name.endswith(".part")]


def assert_all_comes_back(project: Path) -> None:
    """As on another machine: from the remote alone."""
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / ".dvc" / "tmp")
    shutil.rmtree(project / "data")
    dvc(project, "pull")
    assert {file.name: file.read_text() for file in (project / "data").iterdir()} == {
        str(number): f"{number}\n" for number in range(1, FILES + 1)
    }


def test_a_push_that_is_killed_goes_on_and_is_never_done_before_its_files_are(project, remote, until_answered):
    dvc(project, "repro")
    remote.mode = "slow"
    push = start(project, "push")
    deadline = time.monotonic() + 60
    while len(stored(remote)) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(push.pid, signal.SIGKILL)
    push.wait(30)
    assert 5 <= len(stored(remote)) < FILES
    assert not any(file.name.endswith(".dir") for file in stored(remote))
    remote.mode = "well"
    with until_answered():
        dvc(project, "push")
    assert len(stored(remote)) == FILES + 1
    assert_all_comes_back(project)


def test_a_push_that_the_remote_refuses_fails_and_can_be_done_later(project, remote, until_answered):
    dvc(project, "repro")
    remote.mode = "failing"
    with until_answered(), pytest.raises(ServiceError, match="push"):
        dvc(project, "push")
    assert stored(remote) == []
    remote.mode = "well"
    dvc(project, "push")
    assert_all_comes_back(project)


def test_a_remote_that_does_not_answer_ends_in_bounded_time(project, remote, monkeypatch, until_answered):
    dvc(project, "repro")
    monkeypatch.setattr(commands, "_DVC_SECONDS", 6)
    remote.mode = "hung"
    message = "had not ended after 6 s; see that what it waits for is up"
    with until_answered(), pytest.raises(ServiceError, match=message):
        dvc(project, "push")
    monkeypatch.undo()
    remote.mode = "well"
    remote.released.set()
    dvc(project, "push")
    assert_all_comes_back(project)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.1])
def test_dvc_is_killed_while_it_commits_a_stage(project, remote, until_answered, delay_seconds):
    repro = start(project, "repro")
    deadline = time.monotonic() + 60
    while not (project / "data" / str(FILES)).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay_seconds)
    os.killpg(repro.pid, signal.SIGKILL)
    repro.wait(30)
    if delay_seconds == 0:
        (project / ".dvc" / "tmp" / "rwlock").write_text("")  # as a kill in the middle of its writing leaves it
    with until_answered(), run_stage(project, "ingest", pipeline="p") as again:
        output = again.communicate(timeout=60)[0]
    assert again.returncode == 0, output
    dvc(project, "push")
    assert verify(project).damages == ()
    assert_all_comes_back(project)
