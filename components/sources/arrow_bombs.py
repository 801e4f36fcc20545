"""What compressed buffers of an Arrow file say that they hold, before any is decompressed: a small file may hold much.

Arrow's library decompresses a whole batch at once, and has no limit. A message's metadata is a flatbuffer, of which the
few fields here are read by hand (https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from headrace.components.sources.compressed import HARMLESS_BYTES, MAX_RATIO, too_large

_CONTINUATION = 0xFFFFFFFF
_TRAILER_BYTES = 10  # of a file: the footer's length, and ARROW1
_DICTIONARY, _RECORDS = 2, 3  # kinds of messages
_BLOCK, _BUFFER_BYTES = struct.Struct("<qi4xq"), 16


def require_no_bomb(path: Path, content: memoryview, *, is_file: bool) -> None:
    """Raise DataError for a batch that says it decompresses to more than a file like this may; damage is Arrow's."""
    try:
        for message, body in _messages(content, is_file=is_file):
            given_bytes = sum(_decompressed_bytes(message, body))
            if given_bytes > (allowed := max(MAX_RATIO * len(body), HARMLESS_BYTES)):
                raise too_large(path, allowed)
    except (struct.error, IndexError):  # Arrow finds it as well, and says where
        return


def _messages(content: memoryview, *, is_file: bool) -> Iterator[tuple[memoryview, memoryview]]:
    """Metadata and body of each message, of a file those that its footer names."""
    if not is_file:
        place = 0
        while place + 8 <= len(content):
            metadata, start = _metadata(content, place)
            if not metadata:
                return
            place = start + _body_bytes(metadata)
            yield metadata, content[start:place]
        return
    [length] = struct.unpack_from("<i", content, len(content) - _TRAILER_BYTES)
    footer = content[len(content) - _TRAILER_BYTES - length : len(content) - _TRAILER_BYTES]
    for number in (2, 3):  # dictionaries and batches
        for place in _vector(footer, _root(footer), number, _BLOCK.size):
            offset, metadata_bytes, body_bytes = _BLOCK.unpack_from(footer, place)
            start = offset + metadata_bytes
            yield _metadata(content, offset)[0], content[start : start + body_bytes]


def _metadata(content: memoryview, place: int) -> tuple[memoryview, int]:
    """A message's metadata, empty at the end of a stream, and where it ends; before Arrow 0.15 it had no mark."""
    first, second = struct.unpack_from("<Ii", content, place)
    start, length = (place + 8, second) if first == _CONTINUATION else (place + 4, first)
    return content[start : start + length], start + length


def _body_bytes(message: memoryview) -> int:
    place = _field(message, _root(message), 3)
    return int(struct.unpack_from("<q", message, place)[0]) if place else 0


def _decompressed_bytes(message: memoryview, body: memoryview) -> Iterator[int]:
    """What each buffer of a batch says that it holds, 0 for those that are not compressed."""
    root = _root(message)
    kind = message[_field(message, root, 1)]
    if kind not in (_DICTIONARY, _RECORDS):
        return
    batch = _table(message, root, 2)
    if kind == _DICTIONARY:
        batch = _table(message, batch, 1)
    if not _field(message, batch, 3):  # compression
        return
    for place in _vector(message, batch, 2, _BUFFER_BYTES):
        offset, length = struct.unpack_from("<qq", message, place)
        if length:
            yield max(0, struct.unpack_from("<q", body, offset)[0])


def _root(data: memoryview) -> int:
    return int(struct.unpack_from("<I", data)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table is; 0 where it is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    entry = 4 + 2 * number
    offset = (
        struct.unpack_from("<H", data, vtable + entry)[0] if entry < struct.unpack_from("<H", data, vtable)[0] else 0
    )
    return table + int(offset) if offset else 0


def _table(data: memoryview, table: int, number: int) -> int:
    """Where the table is that a field names; IndexError where there is none."""
    if not (place := _field(data, table, number)):
        raise IndexError(number)
    return place + int(struct.unpack_from("<I", data, place)[0])


def _vector(data: memoryview, table: int, number: int, size: int) -> Iterator[int]:
    """Where each element of a vector is."""
    if not _field(data, table, number):
        return
    start = _table(data, table, number)
    for element in range(struct.unpack_from("<I", data, start)[0]):
        yield start + 4 + element * size
