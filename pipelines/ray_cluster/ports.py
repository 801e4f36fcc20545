"""The range of ports that the processes of a training listen on: HEADRACE_PORTS=LOW-HIGH, else any free port."""

import errno
import os
import re
import socket

from headrace.components.errors import ParamsError

PORTS_VARIABLE = "HEADRACE_PORTS"
LOWEST_PORT, HIGHEST_PORT = 1024, 65535


def port_range() -> range | None:
    """The ports that HEADRACE_PORTS allows, both ends included; None where it is not set.

    Raises ParamsError for anything but LOW-HIGH within 1024 and 65535.
    """
    text = os.environ.get(PORTS_VARIABLE, "").strip()
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    low, high = map(int, found.groups()) if found else (0, 0)
    if not LOWEST_PORT <= low <= high <= HIGHEST_PORT:
        raise ParamsError(
            f"{PORTS_VARIABLE} is {text[:40]!r}, expected LOW-HIGH, two ports from {LOWEST_PORT} to "
            f"{HIGHEST_PORT}, such as 20000-20100"
        )
    return range(low, high + 1)


def bind_in_range(host: str, ports: range | None = None) -> socket.socket:
    """A TCP socket that listens on `host`, an address of this machine, at one of `ports`, or of HEADRACE_PORTS.

    Raises ParamsError where every allowed port is in use, OSError for an address that is not this machine's.
    """
    ports = ports or port_range() or range(1)  # port 0 is any that is free
    for port in ports:
        try:
            # Reuses ports of connections that have ended (Linux keeps them for a minute), not those of listeners.
            return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == 0:
                raise
    raise ParamsError(
        f"every port of {PORTS_VARIABLE}={ports[0]}-{ports[-1]} is in use on {host}, expected a free one for each "
        "process that listens on this machine; widen the range"
    )
