"""A server that imports once what commands need, and forks for each: the child continues as that command.

It lives in the session of the command that it was started beside, and ends with it. A child is of the same session and
process group as the client that requested it, so whatever signal is sent to all of them reaches it, too.
"""

import ctypes
import gc
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import NamedTuple

from headrace.pipelines.host.fork_client import DESCRIPTORS, GO, LENGTH, SOCKET, STATUS
from headrace.pipelines.host.processes import ENDING_SIGNALS

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_REQUEST_SECONDS = 5.0  # for a client to send what it has ready
_MOST_BYTES = 1 << 24
# What differs between the command that is served beside, and what it starts in turn.
_OF_A_SHELL = ("_", "PWD", "OLDPWD", "SHLVL")


class Request(NamedTuple):
    """The command line that a child continues with, and where."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def exec_beside_server(command: Sequence[str]) -> None:
    """Become `command`, and return in a child, which is to be the server; it gets SIGTERM when `command` has ended.

    The child reads nothing, and writes nowhere.
    """
    parent = os.getpid()
    if os.fork() != 0:
        os.execv(command[0], list(command))  # noqa: S606  # the caller's own command line, without a shell
    end_with_parent(parent, signal.SIGTERM)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in DESCRIPTORS:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the system send this signal to the process when its parent has ended, however that was."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the call
        signal.raise_signal(number)


class ForkServer:
    """Answers requests at `SOCKET` in a folder of the user's own.

    Made before the imports: the environment and the handlers of signals as they are then are those of a fresh process.
    A request from another environment, of DVC's own variables apart, is refused: imports may have read it. So is one
    after a file of a module has changed: a child would import the rest as it is then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = dict(os.environ)
        self._started_nanoseconds = time.time_ns()
        self._code: dict[str, tuple[int, ...]] = {}
        self._handlers = {
            number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)
        }
        self._clients: dict[int, socket.socket] = {}  # by process id of the child
        self._is_ending = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # sent to the whole group; children have what a fresh process has

    def serve(self) -> Request:
        """Fork for each request; returns in the children alone.

        Raises RuntimeError where a thread of Python runs: it would be missing in the children, with what it holds. Or
        where a file of a module has changed since the server was made.
        """
        if threading.active_count() > 1:
            raise RuntimeError(f"expected no thread before a fork, found {threading.enumerate()}")
        self._code = _files_of_modules()
        if any(changed >= self._started_nanoseconds for changed, *_ in self._code.values()):
            raise RuntimeError("expected no change of a module while it was imported")
        gc.collect()
        gc.freeze()  # else the first collection of a child copies every page
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, self._end)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            os.chdir(self._folder)  # a socket's path has at most 107 bytes
            listener.bind(SOCKET)
            os.chdir("/")
            listener.listen()
            while not (self._is_ending and not self._clients):
                waiting: list[int | socket.socket] = [
                    reading,
                    *self._clients.values(),
                    *([] if self._is_ending else [listener]),
                ]
                ready, _, _ = select.select(waiting, [], [])
                if reading in ready:
                    os.read(reading, 4096)
                self._kill_abandoned(ready)
                self._report_ended()
                if listener in ready and (request := self._answer(listener)) is not None:
                    os.close(reading)
                    os.close(writing)
                    return request
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)  # no module needs to clear up: nothing was done here

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True

    def _kill_abandoned(self, ready: Sequence[int | socket.socket]) -> None:
        """Kill the children whose client has ended."""
        for child, client in self._clients.items():
            if client in ready and _has_ended(client):
                os.kill(child, signal.SIGKILL)

    def _report_ended(self) -> None:
        for child in list(self._clients):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                with self._clients.pop(child) as client, suppress(OSError):
                    client.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))

    def _answer(self, listener: socket.socket) -> Request | None:
        """The request, in the child that was forked for it; None in the server."""
        client, _ = listener.accept()
        client.settimeout(_REQUEST_SECONDS)
        descriptors: list[int] = []
        try:
            request = _receive(client, descriptors)
        except (OSError, ValueError, TypeError, struct.error):
            request = None
        if request is not None and self._is_alike(request.environment):
            client.setblocking(False)
            server = os.getpid()
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)  # a child may miss none
            child = os.fork()
            if child == 0:
                self._become(request, client, descriptors, server=server)
                return request
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
            self._clients[child] = client
            with suppress(OSError):  # of a client that has gone, as the next turn finds
                client.sendall(STATUS.pack(child))
        else:
            client.close()  # and it does the work itself
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _is_alike(self, environment: dict[str, str]) -> bool:
        """Whether a process that starts now, in that environment, would import the same."""
        return (
            _without_own(environment) == _without_own(self._environment)
            and {file: _state(file) for file in self._code} == self._code
        )

    def _become(self, request: Request, client: socket.socket, descriptors: list[int], *, server: int) -> None:
        """Make this process as one that was started by the client; end it if the client has not waited."""
        end_with_parent(server, signal.SIGKILL)
        for other in self._clients.values():
            other.close()
        self._clients.clear()
        with client:
            client.settimeout(None)
            if client.recv(len(GO)) != GO:
                os._exit(1)
        for own, given in zip(DESCRIPTORS, descriptors, strict=True):
            os.dup2(given, own)
            os.close(given)
        os.chdir(request.folder)
        for name in self._environment.keys() - request.environment.keys():
            os.environ.pop(name, None)
        os.environ.update(request.environment)  # beside what the imports have set
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


def _receive(client: socket.socket, descriptors: list[int]) -> Request:
    """The request, with the client's own descriptors put into the list as they come."""
    head, received, _, _ = socket.recv_fds(client, LENGTH.size, len(DESCRIPTORS))
    descriptors += received
    (length,) = LENGTH.unpack(head)
    if length > _MOST_BYTES or len(received) != len(DESCRIPTORS):
        raise ValueError(f"expected {len(DESCRIPTORS)} descriptors, found {len(received)}")
    text = b""
    while len(text) < length:
        piece = client.recv(length - len(text))
        if not piece:
            raise ValueError("the client has gone")
        text += piece
    return Request(**json.loads(text))


def _files_of_modules() -> dict[str, tuple[int, ...]]:
    modules = [one for one in sys.modules.values() if isinstance(one, ModuleType)]
    files = {str(vars(one).get("__file__")) for one in modules}  # not by `getattr`, at which lazy modules are imported
    return {file: state for file in files if (state := _state(file)) is not None}


def _state(file: str) -> tuple[int, ...] | None:
    """Time of change in nanoseconds, size and inode; None where nothing is."""
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino


def _has_ended(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""  # else it is for the child, which reads it
    except BlockingIOError:
        return False
    except OSError:
        return True


def _without_own(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if not name.startswith("DVC_") and name not in _OF_A_SHELL
    }
