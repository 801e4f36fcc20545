"""`make audit` says what a database knows of the locked packages, and says so when none could be reached."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.audit import LOCK, pinned

ADVISORY = {
    "id": "GHSA-0000-0000-0000",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "summary": "an advisory of this test",
    "affected": [
        {
            "package": {"name": "certifi", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }
    ],
}


class Database(BaseHTTPRequestHandler):
    """As much of OSV's interface as uv calls; it knows something of `server.affected`."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.server.queried += [(one["package"]["name"], one["version"]) for one in queries]
        hit = {"vulns": [{"id": ADVISORY["id"], "modified": ADVISORY["modified"]}]}
        self.answer({"results": [hit if one["package"]["name"] in self.server.affected else {} for one in queries]})

    def do_GET(self) -> None:
        self.answer(ADVISORY)

    def answer(self, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def database():
    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        server.queried, server.affected = [], ()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def audited(repository, port, monkeypatch):
    for name, value in (("NO_PROXY", "127.0.0.1"), ("UV_HTTP_RETRIES", "0")):
        monkeypatch.setenv(name, value)
    return subprocess.run(
        [sys.executable, "-m", "infra.audit", "--service-url", f"http://127.0.0.1:{port}"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_locked_package_is_requested(repository, database, monkeypatch):
    ended = audited(repository, database.server_port, monkeypatch)
    assert ended.returncode == 0, ended.stderr
    assert sorted(database.queried) == sorted(pinned(LOCK.read_text(encoding="utf-8")))
    assert len(database.queried) > 250


def test_a_known_vulnerability_is_named_and_ends_with_1(repository, database, monkeypatch):
    database.affected = ("certifi",)
    ended = audited(repository, database.server_port, monkeypatch)
    assert ended.returncode == 1
    assert "certifi" in ended.stdout
    assert ADVISORY["id"] in ended.stdout


def test_without_a_database_it_says_that_nothing_is_known(repository, free_ports, monkeypatch):
    ended = audited(repository, free_ports(1)[0], monkeypatch)
    assert ended.returncode == 69
    assert "audit: no advisory database could be reached, so nothing is known" in ended.stderr
