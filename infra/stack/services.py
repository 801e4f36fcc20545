"""What the supervisor keeps: a service is a command, what it needs first, and how to see that it is ready."""

import contextlib
import json
import os
import pwd
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Past any proxy: all servers are on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CHECK_SECONDS = 5.0


def never(_since: float) -> bool:
    """The ready check of a step: always False, because a step is done when it has ended."""
    return False


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server, or a step (`once`) that has to end with exit code 0 before what needs it may start."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set on top of the supervisor's own environment."""
    folder: Path | None = None
    """Working directory."""
    user: str | None = None
    needs: tuple[str, ...] = ()
    is_ready: Callable[[float], bool] = never
    """Takes the time of the start in seconds since 1970; may take CHECK_SECONDS and must not raise."""
    once: bool = False
    address: str = ""
    tier: int = 0
    """At the end the highest tier goes first."""
    start_seconds: float = 180.0
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 15.0


def run_as(user: str | None) -> dict[str, Any]:
    """Options of `subprocess` to run a program as this user, in no group of ours; None is the present user."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=CHECK_SECONDS).close()
        return True
    return False


def listens_in(folder: Path, name: str) -> bool:
    """Whether something accepts connections on this Unix socket of a folder, whose path may be long."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            probe.settimeout(CHECK_SECONDS)
            probe.connect(f"/proc/self/fd/{descriptor}/{name}")
        finally:
            os.close(descriptor)
        return True
    return False


def fetch_json(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON of a page of this machine; None where it does not answer with any."""
    with contextlib.suppress(ValueError):
        return json.loads(fetch(url, headers) or "null")
    return None


def fetch(url: str, headers: Mapping[str, str] | None = None) -> bytes | None:
    """The body of a page of this machine; None where it does not answer with a 2xx."""
    with contextlib.suppress(OSError, ValueError):
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310  # always http on 127.0.0.1
        with _opener.open(request, timeout=CHECK_SECONDS) as answer:
            return bytes(answer.read())
    return None
