"""Processes known by pid and start time, so that nothing else is ever signalled, and everything they have started."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_SAME_START_SECONDS = 2.0  # the same process, read twice: the clock may have been set in between
_AFTER_LEADER_SECONDS = 1.0
_KILLED_SECONDS = 5.0


@dataclass(frozen=True)
class Identity:
    """One process for good: a pid is reused, the pair of pid and start time (seconds since 1970) is not."""

    pid: int
    started: float

    def find(self) -> psutil.Process | None:
        """The process if it still runs; None if it has ended or its pid was reused."""
        process = self._holder()
        return process if process and self._is(process) and _is_alive(process) else None

    def is_reused(self) -> bool:
        """Whether the pid was reused by another process, whose family is none of ours."""
        process = self._holder()
        return process is not None and not self._is(process)

    def _holder(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid)
        return None

    def _is(self, process: psutil.Process) -> bool:
        return bool(abs(process.create_time() - self.started) <= _SAME_START_SECONDS)


def identify(pid: int) -> Identity:
    """The identity of a running process; raises psutil.NoSuchProcess if there is none."""
    return Identity(pid, psutil.Process(pid).create_time())


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that none gets away from it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def family(leader: int) -> list[psutil.Process]:
    """All that the leader of a session has started: its descendants, and its session's members without parents."""
    found: set[psutil.Process] = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        found.update(psutil.Process(leader).children(recursive=True))
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if process.pid != leader and os.getsid(process.pid) == leader:
                found.update([process, *process.children(recursive=True)])
    return list(found)


def end(leader: Identity, *, stop_signal: int = signal.SIGTERM, grace_seconds: float) -> None:
    """End the leader of a session and all that it has started: a signal, the grace, then SIGKILL.

    A leader that has ended already may have left processes, which are killed after a moment.
    """
    if leader.is_reused():
        return
    process = leader.find()
    members = set(family(leader.pid))
    if process is not None:
        _signal(process, stop_signal)
        _wait([process], grace_seconds)
        members.update([process, *family(leader.pid)])
    # Those that a leader takes with it need a moment more than itself.
    for member in _wait(members, _AFTER_LEADER_SECONDS):
        _signal(member, signal.SIGKILL)
    _wait(members, _KILLED_SECONDS)


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)  # psutil first checks that the pid is still this process's


def _wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so many seconds. Never reaps: a child's exit code belongs to its parent."""
    deadline = time.monotonic() + seconds
    alive = [one for one in processes if _is_alive(one)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [one for one in alive if _is_alive(one)]
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def reap_orphans(known: set[int]) -> None:
    """Take note of the end of adopted processes; those in `known` belong to who started them."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid not in known and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
