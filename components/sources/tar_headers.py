"""Headers of tar archives, one block each (POSIX.1-1988 "ustar", GNU, and what was there before them).

`tarfile` reads a header in four times as long, most of it for owners, times and devices, which nobody asks for here;
and what it makes of old archives differs from one of Python's releases to the next.
"""

import tarfile
from typing import NamedTuple

BLOCK_BYTES = 512  # headers and contents begin at multiples of it
FILE, OLD_FILE, CONTIGUOUS_FILE, FOLDER = b"0", b"\0", b"7", b"5"
LONG_NAME, EXTENDED, EXTENDED_FOR_ALL = b"L", b"x", b"g"

_NAME, _SIZE, _CHECKSUM, _PREFIX = slice(0, 100), slice(124, 136), slice(148, 156), slice(345, 500)
_TYPE, _MAGIC = slice(156, 157), slice(257, 263)
_USTAR = b"ustar\0"
_TEMPLATE = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)


class TarHeader(NamedTuple):
    """What a header says of the member that follows it."""

    name: str
    type: bytes
    size: int


def parse_header(block: bytes) -> TarHeader:
    """Return what a header of 512 bytes says; raise ValueError if it is none.

    Bytes of the name that are not UTF-8 become surrogates. A name that ends in `/` is a folder's in archives older than
    the type for folders.
    """
    if len(block) != BLOCK_BYTES:
        raise ValueError(f"{len(block)} bytes where a header has {BLOCK_BYTES}")
    if not _has_sum(block):
        raise ValueError("bad checksum")
    name, kind, size = _text(block[_NAME]), block[_TYPE], _number(block[_SIZE])
    if kind == OLD_FILE and name.endswith("/"):
        kind = FOLDER
    if (prefix := _text(block[_PREFIX])) and kind != LONG_NAME:
        if block[_MAGIC] != _USTAR:  # readers differ in what they make of it
            raise ValueError("a header with a prefix that is not of POSIX.1-1988")
        name = f"{prefix}/{name}"
    return TarHeader(name, kind, size)


def format_header(name: str, size: int) -> bytes:
    """Return the headers, one or several blocks, of a regular file of no owner and no time."""
    if len(name) > _NAME.stop or not name.isascii() or size >= 8**11:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.PAX_FORMAT)
    block = bytearray(_TEMPLATE)
    block[: len(name)] = name.encode()
    block[_SIZE] = b"%011o\0" % size
    block[_CHECKSUM] = b"%06o\0 " % _sum(block)
    return bytes(block)


def end(position: int) -> bytes:
    """Return what ends an archive whose last member ends at `position`: two blocks of zeros, and a whole record."""
    return bytes(2 * BLOCK_BYTES + -(position + 2 * BLOCK_BYTES) % tarfile.RECORDSIZE)


def _sum(block: bytes | bytearray) -> int:
    """The sum of a header's bytes, its checksum taken for spaces."""
    return sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")


def _has_sum(block: bytes) -> bool:
    stated, found = _number(block[_CHECKSUM]), _sum(block)
    if stated == found:
        return True
    negative = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[_CHECKSUM])
    return stated == found - 256 * negative  # of some old programs, to which a byte had a sign


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    """A number in octal digits or, where it is too large for them, in base 256 (GNU)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ") or b"0"
    if not digits.isdigit():  # int() takes signs and underscores too
        raise ValueError(f"a number that is none: {field!r}")
    return int(digits, 8)
