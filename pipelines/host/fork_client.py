"""The client of a fork server: a program that hands its command line over, or becomes the command if that fails.

It is run as a file, without Headrace's packages, and imports little: its whole life is to wait.
"""

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

SOCKET = "socket"  # in the folder of the server
DESCRIPTORS = (0, 1, 2)
LENGTH = struct.Struct("!I")  # of the request in bytes
STATUS = struct.Struct("!i")  # a process id, then an exit code, negative of a signal
GO = b"g"

_ANSWER_SECONDS = 30.0
_FORWARDED = (signal.SIGHUP, signal.SIGTERM)  # what may be sent to one process; SIGINT and SIGQUIT go to its group


def main(folder: str, command: str, arguments: list[str]) -> None:
    """Have the server in `folder` run `command`, and end as it ended; without the server, become `command`."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback
    if (client := _connected(folder)) is not None:
        request = {"arguments": [command, *arguments], "folder": str(Path.cwd()), "environment": dict(os.environ)}
        if (code := _hand_over(client, json.dumps(request).encode())) is not None:
            _end_as(code)
    os.execv(command, [command, *arguments])  # noqa: S606  # the caller's own command line, without a shell


def _connected(folder: str) -> socket.socket | None:
    here = Path.cwd()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(folder)  # a socket's path has at most 107 bytes
        client.connect(SOCKET)
    except OSError:  # it is still importing, or has gone
        client.close()
        return None
    finally:
        os.chdir(here)
    return client


def _hand_over(client: socket.socket, request: bytes) -> int | None:
    """The exit code of the command; None where the server did not take it, and nothing was done."""
    with client:
        client.settimeout(_ANSWER_SECONDS)
        try:
            socket.send_fds(client, [LENGTH.pack(len(request))], DESCRIPTORS)
            client.sendall(request)
            child = _number(client)
        except OSError:
            return None
        if child is None:
            return None
        for number in _FORWARDED:
            signal.signal(number, lambda number, _frame: _send(child, number))
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        client.settimeout(None)
        try:
            client.sendall(GO)  # the child waits for it: a client that gave up has started nothing
            code = _number(client)
        except OSError:
            code = None
        if code is None:  # the server has gone, and its children with it
            _send(child, signal.SIGKILL)
            return -signal.SIGKILL
        return code


def _number(client: socket.socket) -> int | None:
    text = b""
    while len(text) < STATUS.size:
        piece = client.recv(STATUS.size - len(text))
        if not piece:
            return None
        text += piece
    return int(STATUS.unpack(text)[0])


def _send(process: int, number: int) -> None:
    with suppress(OSError):
        os.kill(process, number)


def _end_as(code: int) -> None:
    """Exit with the code, or by the signal that ended the command."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
