"""Keep everybody but the machines of the group from the server that TensorFlow starts in this process.

TensorFlow binds it to all interfaces, requires no secret, and reads and writes files for any client. A
classic BPF program on the listening socket makes the kernel drop every packet from another address, the first one of a
connection included; connections inherit it. It needs no privilege.
"""

import ctypes
import ipaddress
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.components.errors import TrainingError

SO_ATTACH_FILTER = 26  # of Linux; the socket module does not name it
POLL_SECONDS = 0.01

# Classic BPF: instructions (struct sock_filter) of a code, two jumps and a constant.
_LOAD_WORD, _LOAD_BYTE, _SHIFT_RIGHT, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x30, 0x74, 0x15, 0x06
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF: places from here on are those of the IP header
_SOURCE_OFFSETS = {4: 12, 6: 8}
_WHOLE_PACKET = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@contextmanager
def closed_to_others(port: int, *, hosts: Sequence[str]) -> Iterator[None]:
    """Close what listens at `port` of this process within the block to all but `hosts`, for good.

    It is closed within milliseconds of its start; connections that others made before are shut down. Raises
    TrainingError at the end of the block where nothing listens there, or the system has no such filter.
    """
    if not sys.platform.startswith("linux"):
        raise TrainingError(
            "several workers with GPUs need Linux, whose kernel keeps strangers from TensorFlow's server; found "
            f"{sys.platform}"
        )
    addresses = [ipaddress.ip_address(host) for host in hosts]
    program, is_over = _program(addresses), threading.Event()
    closed: set[int] = set()

    def watch() -> None:
        while not is_over.wait(POLL_SECONDS):
            closed.update(_close(port, program, addresses))

    thread = threading.Thread(target=watch, name="server filter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    if not closed | _close(port, program, addresses):
        raise TrainingError(
            f"no socket of this process listens at port {port}, where TensorFlow's server was expected: it can't be "
            "closed to others; set train.use_gpu: false"
        )


def _close(port: int, program: bytes, addresses: Sequence[IPAddress]) -> set[int]:
    """Give every socket of this process at `port` the filter; the file descriptors of those that listen."""
    listening = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):  # one that was closed meanwhile
            if not Path(f"/proc/self/fd/{name}").readlink().name.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as one:
                if one.family not in (socket.AF_INET, socket.AF_INET6) or one.getsockname()[1] != port:
                    continue
                _attach(one, program)
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    listening.add(int(name))
                elif _peer(one) not in addresses:
                    one.shutdown(socket.SHUT_RDWR)
    return listening


def _attach(one: socket.socket, program: bytes) -> None:
    instructions = ctypes.create_string_buffer(program)
    length = len(program) // struct.calcsize("HBBI")
    one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", length, ctypes.addressof(instructions)))


def _peer(one: socket.socket) -> IPAddress:
    address = ipaddress.ip_address(one.getpeername()[0])
    return getattr(address, "ipv4_mapped", None) or address


def _program(addresses: Sequence[IPAddress]) -> bytes:
    """Instructions that let packets from `addresses` pass, and drop all others."""
    parts: list[Instruction] = []
    for version in (4, 6):
        check: list[Instruction] = []
        for address in {one for one in addresses if one.version == version}:
            check += _if_from(address)
        check.append((_RETURN, 0, 0, 0))
        parts += [
            (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
            (_SHIFT_RIGHT, 0, 0, 4),
            (_JUMP_IF_EQUAL, 1, 0, version),
            (0x05, 0, 0, len(check)),  # jump over the check
            *check,
        ]
    parts.append((_RETURN, 0, 0, 0))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in parts)


def _if_from(address: IPAddress) -> list[Instruction]:
    """Let a packet from `address` pass; else continue behind."""
    words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
    found: list[Instruction] = []
    for place, word in enumerate(words):
        behind = 2 * (len(words) - place) - 1
        offset = _NETWORK_HEADER + _SOURCE_OFFSETS[address.version] + 4 * place
        found += [(_LOAD_WORD, 0, 0, offset), (_JUMP_IF_EQUAL, 0, behind, word)]
    return [*found, (_RETURN, 0, 0, _WHOLE_PACKET)]
