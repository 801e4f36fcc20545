"""Delimited text, cut into blocks of whole rows that can be read apart from each other, also by another process.

A line end inside quotes ends no row. A quote that is not closed makes everything up to the next one, or to the end of
the file, part of its value: Arrow reads such a file without an error, and whole rows are lost in one value.
"""

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.components.errors import DataError
from headrace.components.sources.raw_part import RowError
from headrace.components.sources.source import BLOCK_BYTES, LONGEST_ROW_BYTES

_QUOTE = ord('"')
_LIMIT_LOCK = threading.Lock()


@dataclass(frozen=True)
class RowBlock:
    """Whole rows. If not `is_regular`, `require_closed_quotes` must look at them before they are read."""

    content: bytes | bytearray
    is_regular: bool


def read_header(stream: io.BufferedIOBase, *, file: str, separator: str) -> tuple[list[str], int]:
    """Values of the first row, and its number of bytes with its line end and a byte order mark."""
    content = stream.read(LONGEST_ROW_BYTES)
    mark = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    lines = _Lines(content[mark:])
    try:
        with _long_values():
            header = next(_reader(lines, separator), [])
    except csv.Error as error:
        if "unexpected end of data" in str(error) or "expected after" in str(error):
            raise DataError(f"{file}, header line: {_UNCLOSED}") from error
        raise DataError(f"{file}: its header line is not delimited UTF-8 text: {error}") from error
    if any(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") != value for value in header):
        raise DataError(f"{file}: its header line is not delimited UTF-8 text{_encoding(content)}")
    if not header:
        raise DataError(f"{file}: expected a header line with column names, found none")
    return header, mark + lines.consumed_bytes


def cut_rows(stream: io.BufferedIOBase, *, separator: str, block_bytes: int = BLOCK_BYTES) -> Iterator[RowBlock]:
    """Yield all rows of a stream, which begins with a row, in blocks of about `block_bytes`.

    What can't be cut, because a quote is not closed or a row has more than `LONGEST_ROW_BYTES`, is one last block.
    """
    rest = bytearray()
    while content := _read_on(stream, rest, block_bytes):
        end, is_regular = _end_of_rows(content, separator)
        if end == 0 and len(content) > LONGEST_ROW_BYTES:
            yield RowBlock(content, is_regular=False)
            return
        rest = content[end:]
        del content[end:]
        if content:
            yield RowBlock(content, is_regular)
    if rest:
        yield RowBlock(rest, _is_regular(rest, _quotes(rest), separator) and rest.count(b'"') % 2 == 0)


def _read_on(stream: io.BufferedIOBase, rest: bytearray, block_bytes: int) -> bytearray:
    """What is left of the block before, and the next one after it; nothing at the end of the stream.

    Read into its place, because every copy of a block costs a tenth of what reading its values does.
    """
    content = bytearray(len(rest) + block_bytes)
    content[: len(rest)] = rest
    with memoryview(content) as view:
        length = len(rest)
        while length < len(view) and (count := stream.readinto(view[length:])):
            length += count
    del content[length if length > len(rest) else 0 :]
    return content


def require_closed_quotes(block: RowBlock, *, file: str, separator: str) -> None:
    """Raise RowError if a value begins with a quote but does not end with one, or if a row is too long.

    A quote inside a value that does not begin with one, as in `5" pipe`, is text. RFC 4180 forbids it, so a file that
    has one goes through Python's csv, at about a second per 100 MB.
    """
    lines, rows, begin = _Lines(block.content), 0, 0
    try:
        with _long_values():
            for row in _reader(lines, separator):
                if lines.consumed_bytes - begin > LONGEST_ROW_BYTES:
                    raise RowError(file, rows + 1, f"longer than {LONGEST_ROW_BYTES} bytes")
                rows, begin = rows + bool(row), lines.consumed_bytes  # empty lines are not counted
    except csv.Error as error:
        raise RowError(file, rows + 1, _UNCLOSED) from error


_UNCLOSED = (
    "a value begins with a quote that is not closed right before a separator or line "
    'end; close it there, and double every quote inside the value ("")'
)


def _end_of_rows(content: bytes | bytearray, separator: str) -> tuple[int, bool]:
    """End of the last whole row (0: there is none), and whether quotes open and close whole values."""
    quotes = _quotes(content)
    if not _is_regular(content, quotes, separator):
        return _end_of_rows_by_csv(content, separator), False
    line_end = b"\n" if b"\n" in content else b"\r"
    end = len(content)
    while (place := content.rfind(line_end, 0, end)) >= 0:
        before = int(np.searchsorted(quotes, place))
        if before % 2 == 0:
            return place + 1, True
        end = int(quotes[before - 1])  # it is inside of quotes: look on before they open
    return 0, True


def _quotes(content: bytes | bytearray) -> npt.NDArray[np.int64]:
    if b'"' not in content:  # faster to find
        return np.empty(0, np.int64)
    return np.flatnonzero(np.frombuffer(content, np.uint8) == _QUOTE)


def _is_regular(content: bytes | bytearray, quotes: npt.NDArray[np.int64], separator: str) -> bool:
    """Whether quotes by turns open and close whole values; of two inside a value, one closes it, one opens it again."""
    if not len(quotes):
        return True
    values = np.frombuffer(content, np.uint8)
    is_border = np.isin(np.arange(256), list(b'\r\n"' + separator.encode()))
    # A quote at either end has no neighbour there and is taken for its own.
    before, after = np.maximum(quotes[::2] - 1, 0), np.minimum(quotes[1::2] + 1, len(values) - 1)
    return bool(is_border[values[before]].all() and is_border[values[after]].all())


def _end_of_rows_by_csv(content: bytes | bytearray, separator: str) -> int:
    lines, end = _Lines(content), 0
    with _long_values(), suppress(csv.Error):  # what can't be read ends up in a block that says so where it is read
        for _ in _reader(lines, separator):
            if lines.consumed_bytes < len(content):  # the last may continue
                end = lines.consumed_bytes
    return end


def _reader(lines: "_Lines", separator: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=separator, strict=True)


class _Lines:
    """The lines of some text, and how many of its bytes have been asked for."""

    def __init__(self, content: bytes | bytearray) -> None:
        self._text = io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape", newline="")
        self.consumed_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.consumed_bytes += len(line.encode("utf-8", "surrogateescape"))
            yield line


@contextmanager
def _long_values() -> Iterator[None]:
    """Let Python's csv read values that are as long as a row may be; its limit is one for all threads."""
    with _LIMIT_LOCK:
        python_limit = csv.field_size_limit(LONGEST_ROW_BYTES)
        try:
            yield
        finally:
            csv.field_size_limit(python_limit)


def _encoding(content: bytes) -> str:
    marks = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
    found = marks.get(content[:2])
    return f"; it begins as {found} does: convert it, as in `iconv -f {found} -t UTF-8`" if found else ""
