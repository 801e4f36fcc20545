"""Which addresses stay on this machine, and by which of its own addresses it reaches another."""

import socket
from contextlib import suppress
from ipaddress import IPv6Address, ip_address


def is_loopback(host: str) -> bool:
    """True for `localhost` and for every address that only this machine itself reaches."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def own_address(towards: str) -> str | None:
    """The address of this machine that leads to a host; None where no way is known. Sends nothing."""
    with suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    return None
