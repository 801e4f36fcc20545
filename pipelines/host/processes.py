"""Ending what was started: by a signal to this process, or by a guard when this process was killed.

This file is also the guard's program, so it imports little.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

# SIGINT lets a stage close its MLflow run; what still lives after it is ended harder. Less than 10 s together.
STOP_SIGNALS_SECONDS = ((signal.SIGINT, 7.0), (signal.SIGTERM, 0.7), (signal.SIGKILL, 1.0))
END_SIGNALS_SECONDS = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0))

ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_received: list[int] = []  # the signal that ended the last block of signals_as_errors; handlers are the process's, too
_MARK = "GUARDED_BY"  # an environment variable: processes that are started inherit it, whatever session they make


class Stopped(KeyboardInterrupt):
    """A signal requested this process to end; the first argument names it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextmanager
def signals_as_errors() -> Iterator[list[int]]:
    """Let whatever ends a process by default raise Stopped inside the block, once; what nohup ignores stays ignored.

    For the main thread. A second signal does not cut the ending short. Yields a list of the signal that was received.
    """
    _received.clear()

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in previous:
            signal.signal(other, signal.SIG_IGN)
        _received.append(number)
        raise Stopped(number)

    previous = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    if previous[signal.SIGHUP] == signal.SIG_IGN:
        del previous[signal.SIGHUP]
    try:
        for number in previous:
            signal.signal(number, stop)
        yield _received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def why_interrupted(error: KeyboardInterrupt) -> str:
    """The signal by its name.

    Within a call such as `ray.get`, Ray catches Stopped and raises a KeyboardInterrupt of its own, without a word.
    """
    return str(Stopped(_received[0]) if _received else error) or "interrupted"


@contextmanager
def guarded_session(leader: int, *, keep_open: Sequence[int] = ()) -> Iterator[None]:
    """End a session's processes within 10 s of this process, if that is killed inside the block.

    `keep_open` are file descriptors that stay open until then, such as those of locks.
    """
    with _guard("session", str(leader), keep_open):
        yield


@contextmanager
def guarded_children() -> Iterator[None]:
    """End what was started inside the block, with all that it started in turn, if this process is killed inside it."""
    mark = str(uuid.uuid4())
    with _guard("mark", mark, ()):
        os.environ[_MARK] = mark
        os.environ.setdefault("SPT_NOENV", "1")  # else Ray's processes write their title over what /proc says of theirs
        try:
            yield
        finally:
            os.environ.pop(_MARK, None)


@contextmanager
def _guard(kind: str, value: str, keep_open: Sequence[int]) -> Iterator[None]:
    """Run the guard, which waits for the end of its standard input: the system closes it, however this process ends."""
    with subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__)), kind, value],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={name: text for name, text in os.environ.items() if name != _MARK},
        pass_fds=keep_open,
        start_new_session=True,  # a signal to our group or terminal is not for the guard
    ) as guard:
        try:
            yield
        finally:
            guard.kill()


def end_session(leader: int, *, on_poll: Callable[[], object] = lambda: None) -> None:
    """End every process of a session, gently at first; returns immediately if all have ended by themselves."""
    for number, wait_seconds in STOP_SIGNALS_SECONDS:
        if not _session(leader):
            return
        if number is signal.SIGINT:
            _send(os.killpg, leader, number)  # as a terminal would
        else:
            for member in _session(leader):
                _send(os.kill, member, number)
        _wait(lambda: _session(leader), wait_seconds, on_poll)


def _end_marked(mark: str) -> None:
    for number, wait_seconds in END_SIGNALS_SECONDS:
        for member in _marked(mark):
            _send(os.kill, member, number)
        _wait(lambda: _marked(mark), wait_seconds, lambda: None)


def _wait(members: Callable[[], list[int]], seconds: float, on_poll: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while members() and time.monotonic() < deadline:
        on_poll()
        time.sleep(0.05)


def _session(leader: int) -> list[int]:
    """Every living process of a session. By session, not by group: Ray puts its workers in groups of their own."""
    return [pid for pid in psutil.pids() if _session_of(pid) == leader and not _is_zombie(pid)]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has just ended, or belongs to the system
        return None


def _marked(mark: str) -> list[int]:
    """Every living process that has inherited the mark."""
    entry = f"{_MARK}={mark}".encode()
    return [pid for pid in psutil.pids() if entry in _environment(pid).split(b"\0") and not _is_zombie(pid)]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has just ended, or is another user's
        return b""


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _send(send: Callable[[int, int], None], receiver: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        send(receiver, number)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    if sys.argv[1] == "session":
        end_session(int(sys.argv[2]))
    else:
        _end_marked(sys.argv[2])
