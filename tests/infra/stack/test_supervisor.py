"""The supervisor of the local stack, with small real processes: restart, back-off, giving up, and an orderly end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.stack.processes import Identity, end, identify
from infra.stack.supervisor import Status, read_record

# Every service is ready when it runs; a pause is short.
SUPERVISE = """
import json, os, sys
from pathlib import Path
from infra.stack.services import Service, never
from infra.stack.supervisor import Patience, Supervisor

folder = Path(sys.argv[1])
services = [
    Service(**{"is_ready": never if one.get("once") else lambda _since: True, "folder": folder, **one})
    for one in json.loads(sys.argv[2])
]
patience = Patience(max_failures=2, pause_seconds=0.3)
Supervisor(services, record=folder / "state.json", logs=folder, environment=os.environ, patience=patience).run()
"""


class Stack:
    """A supervisor in a process of its own, and what it writes down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def start(self, *services: dict[str, Any]) -> None:
        as_lists = [{**one, "command": ["bash", "-c", one["command"]]} for one in services]
        command = [sys.executable, "-c", SUPERVISE, str(self.folder), json.dumps(as_lists)]
        self.process = subprocess.Popen(command)

    def status(self, name: str) -> Status:
        record = read_record(self.folder / "state.json")
        return record.services[name] if record else Status()

    def wait(self, name: str, is_so: Callable[[Status], bool]) -> Status:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if is_so(now := self.status(name)):
                return now
            time.sleep(0.05)
        raise AssertionError(self.status(name))

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0

    def said(self) -> list[str]:
        file = self.folder / "said"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    try:
        yield made
    finally:
        if made.process and made.process.poll() is None:
            made.end()


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_dies_is_restarted_and_what_it_left_is_ended_first(stack: Stack) -> None:
    stack.start({"name": "server", "command": "sleep 1000 & echo $! >> said; wait"})
    first = stack.wait("server", lambda now: now.state == "ready")
    wait_for(stack.said)
    os.kill(first.pid, signal.SIGKILL)
    second = stack.wait("server", lambda now: now.state == "ready" and now.restarts == 1)
    assert second.pid != first.pid
    assert is_gone(int(stack.said()[0]))


def test_it_gives_up_with_the_reason_after_pauses_that_double(stack: Stack) -> None:
    stack.start(
        {"name": "broken", "command": "date +%s.%N >> said; exit 3"},
        {"name": "dependent", "command": "sleep 1000", "needs": ["broken-too"]},
        {"name": "broken-too", "command": "kill -9 $$", "once": True},
    )
    assert "exit code 3; given up after 3 times" in stack.wait("broken", lambda now: now.state == "failed").reason
    assert "SIGKILL" in stack.wait("broken-too", lambda now: now.state == "failed").reason
    assert stack.status("dependent").state == "waiting"
    starts = [float(time) for time in stack.said()]
    assert starts[1] - starts[0] >= 0.3
    assert starts[2] - starts[1] >= 0.6


def test_services_start_after_their_needs_and_end_before_them(stack: Stack) -> None:
    def server(name: str) -> str:
        return f"echo +{name} >> said; trap 'sleep 0.5; echo -{name} >> said; exit' TERM; while :; do sleep 0.05; done"

    stack.start(
        {"name": "client", "command": server("client"), "needs": ["schema"], "tier": 1},
        {"name": "schema", "command": "sleep 0.3; echo schema >> said", "needs": ["base"], "once": True},
        {"name": "base", "command": server("base")},
    )
    stack.wait("client", lambda now: now.state == "ready")
    wait_for(lambda: "+client" in stack.said())
    stack.end()
    assert stack.said() == ["+base", "schema", "+client", "-client", "-base"]
    assert [stack.status(name).state for name in ("client", "schema", "base")] == ["stopped", "done", "stopped"]


def test_nothing_gets_away_at_the_end(stack: Stack) -> None:
    """Neither one that ignores SIGTERM, nor a daemon in a session of its own, whose parents have ended."""
    stack.start(
        {
            "name": "stubborn",
            "command": "trap '' TERM; (setsid sleep 1000 & echo $! >> said); while :; do sleep 0.1; done",
            "stop_seconds": 0.5,
        }
    )
    stubborn = stack.wait("stubborn", lambda now: now.state == "ready").pid
    wait_for(stack.said)
    daemons = [process for process in psutil.Process(stack.process.pid).children() if process.name() == "sleep"]
    stack.end()
    assert is_gone(stubborn)
    assert all(is_gone(daemon.pid) for daemon in daemons)
    assert is_gone(int(stack.said()[0]))


def test_a_program_that_is_not_there_is_a_reason(stack: Stack) -> None:
    stack.start({"name": "nowhere", "command": "true", "folder": str(stack.folder / "missing")})
    assert "could not be started" in stack.wait("nowhere", lambda now: now.state == "failed").reason


def test_another_process_with_the_same_pid_is_left_alone() -> None:
    other = subprocess.Popen(["bash", "-c", "sleep 1000 & wait"], start_new_session=True)
    try:
        wait_for(lambda: bool(psutil.Process(other.pid).children()))
        now = identify(other.pid)
        before = Identity(now.pid, now.started - 60)
        assert now.find() is not None
        assert before.find() is None
        end(before, stop_signal=signal.SIGKILL, grace_seconds=0.1)
        assert other.poll() is None
        assert psutil.Process(other.pid).children()
    finally:
        end(now, stop_signal=signal.SIGKILL, grace_seconds=1.0)
        other.wait(5)
    assert now.find() is None
