"""Plain, gzip, bzip2, xz and zstd files, distinguished by their first bytes and not by their names.

A truncated file, a wrong checksum, and anything after the end are errors. (Python's `bz2.open` and `lzma.open` stop in
silence at what they can't read after the first stream.)
"""

import bz2
import io
import lzma
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from headrace.components.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Kind = Literal["plain", "gzip", "bzip2", "xz", "zstd"]
MAX_BYTES = 1 << 40
MAX_RATIO = 1000  # of bytes out to bytes in; a table of one-hot columns reaches 500
HARMLESS_BYTES = 1 << 26  # so much may come out of any file, however small
_CHUNK_BYTES = 1 << 20
_XZ_MEMORY_BYTES = 1 << 28  # `xz -9` needs 65 MiB; a header can ask for 4 GiB


@contextmanager
def open_plain(path: Path, *, max_bytes: int = MAX_BYTES, max_ratio: int = MAX_RATIO) -> Iterator[io.BufferedReader]:
    """Yield the decompressed bytes of a file; several streams one after the other are read as one.

    Raises DataError, here or from any read, if the file is damaged, is truncated, has something after its end, or gives
    more than `max_bytes`, or more than `max_ratio` times its own size. Only a read that finds the end has checked all.
    """
    kind = compression(path)
    size, allowed = path.stat().st_size, allowed_bytes(path, max_bytes=max_bytes, max_ratio=max_ratio)
    if kind == "plain":
        if size > max_bytes:
            raise DataError(f"{path.name} is larger than {max_bytes} bytes; divide it into several files")
        stream: io.BufferedReader = io.BufferedReader(io.FileIO(path), _CHUNK_BYTES)
        with stream:
            yield stream
        return
    with closing(_within(_chunks(path, kind), path, allowed)) as chunks:
        yield io.BufferedReader(_Chunks(chunks), _CHUNK_BYTES)


def compression(path: Path) -> Kind:
    """Compression of a file, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(10)
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A text may begin with BZh; what follows are the marks of a first block or of the end.
    if head.startswith(b"BZh") and head[4:] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    # The second is a frame to be skipped, with which pzstd begins.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return "zstd"
    return "plain"


def allowed_bytes(path: Path, *, max_bytes: int, max_ratio: int) -> int:
    """Number of bytes that may come out of a compressed file."""
    return min(max_bytes, max(max_ratio * path.stat().st_size, HARMLESS_BYTES))


def too_large(path: Path, allowed: int) -> DataError:
    """Error of a file that gives more than `allowed_bytes`."""
    return DataError(
        f"{path.name} ({path.stat().st_size} bytes) decompresses to more than {allowed} bytes: it may be made to fill "
        "memory or disk. If you know it to be good, decompress it yourself and give the plain files"
    )


def _within(chunks: Iterator[bytes], path: Path, allowed: int) -> Generator[bytes]:
    given = 0
    for chunk in chunks:
        given += len(chunk)
        if given > allowed:
            raise too_large(path, allowed)
        yield chunk


def _chunks(path: Path, kind: Kind) -> Iterator[bytes]:
    import pyarrow as pa  # settings of sources stand beside readers, and Airflow's parse of them must not load it

    try:
        if kind in ("bzip2", "xz"):
            with path.open("rb") as stream:
                yield from _streams(stream, kind)
        else:
            with pa.OSFile(str(path)) as stream, pa.CompressedInputStream(stream, kind) as opened:
                while chunk := opened.read(_CHUNK_BYTES):
                    yield chunk
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as error:
        if getattr(error, "errno", None) is not None:  # a disk that can't be read, not a damaged file
            raise
        raise DataError(f"{path.name} is a damaged {kind} file ({error}): fetch it again") from error


def _streams(stream: BinaryIO, kind: Kind) -> Iterator[bytes]:
    """Yield the bytes of one stream after the other. Arrow has no xz, and ends at an empty stream of bzip2."""
    data = stream.read(_CHUNK_BYTES)
    while data:
        decompressor = (
            bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY_BYTES)
        )
        while not decompressor.eof:
            yield decompressor.decompress(data, _CHUNK_BYTES)
            data = b""
            if decompressor.needs_input and not (data := stream.read(_CHUNK_BYTES)):
                raise EOFError("Truncated compressed stream")
        data = decompressor.unused_data or stream.read(_CHUNK_BYTES)


class _Chunks(io.RawIOBase):
    """Chunks as a file that is read from its beginning to its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        target = memoryview(buffer)
        count = min(len(target), len(self._left))
        target[:count], self._left = self._left[:count], self._left[count:]
        return count
