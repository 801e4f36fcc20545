"""Text in chunks of equal length, cut out of long files as they are read.

The last character of a chunk is the first of the next: each character but a file's first is once what follows a text.
"""

import codecs
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from headrace.components.errors import DataError, ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.compressed import open_plain
from headrace.components.sources.raw_part import GivenSplit, RawPart
from headrace.components.sources.source import BLOCK_BYTES, Block
from headrace.components.sources.table_source import RowFileSource

COLUMNS = ("text", "file", "position", "passage")
_MARK = "\ufeff"


class TextSource(RowFileSource):
    """Text files, UTF-8, cut into chunks of `length` + 1 characters that follow each other; neighbours share one.

    Each chunk is a row, with the columns text, file, position (of its first character) and passage (a number).
    """

    kind: Literal["text"] = "text"
    length: Annotated[int, Field(ge=1, le=65_536)]
    """Characters of a chunk that a model takes; backpropagation through time ends there."""

    passage_chunks: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Number of chunks of a file that form a passage: `group: [file, passage]` holds out whole passages."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for a column that chunks of text do not have."""
        super().check_schema(schema)
        for name in schema.source_columns:
            if name not in COLUMNS:
                raise ParamsError(f"ingest: no column {name!r}; a source of kind 'text' gives {', '.join(COLUMNS)}")

    @property
    def how(self) -> str:
        """Where a text is cut."""
        return f"text {self.length} {self.passage_chunks}"

    def blocks(self, file: Path, *, schema: ExampleSchema, given_split: GivenSplit | None) -> Iterable[Block]:
        """Chunks of a file."""
        return text_blocks(file, source=self, given_split=given_split, on_rest=_log_rest)


@dataclass(frozen=True)
class TextBlock:
    """Some whole chunks of a file, of which `first_chunk` (0 is the file's first) is the first."""

    text: str
    first_chunk: int
    file: str
    length: int
    passage_chunks: int
    given_split: GivenSplit | None = None

    def read(self, *, numbers: Collection[str] = ()) -> RawPart:
        """Chunks as rows of String: `text`, `file`, `position` (of its first character) and `passage`."""
        import polars as pl

        texts = [self.text[begin : begin + self.length + 1] for begin in range(0, len(self.text) - 1, self.length)]
        places = pl.Series(range(self.first_chunk, self.first_chunk + len(texts)), dtype=pl.Int64)
        table = pl.DataFrame(
            {
                "text": pl.Series(texts, dtype=pl.String),
                "file": pl.repeat(self.file, len(texts), dtype=pl.String, eager=True),
                "position": (places * self.length).cast(pl.String),
                "passage": (places // self.passage_chunks).cast(pl.String),
            }
        )
        return RawPart(table, dict.fromkeys(COLUMNS, self.file), self.given_split)


def text_blocks(
    path: Path,
    *,
    source: TextSource,
    given_split: GivenSplit | None = None,
    on_rest: Callable[[str, int], None],
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[TextBlock]:
    """Yield the chunks of a file, of `source.length` + 1 characters each, in blocks of about `block_bytes`.

    A byte order mark is left out; line ends stay as they are. `on_rest` receives the file's name and the number of
    characters at its end that are in no chunk, if there are any. Raises DataError for bytes that are no UTF-8.
    """
    length, first, waiting = source.length, 0, ""
    for characters in _decoded(path, block_bytes):
        waiting += characters
        chunks = max(0, len(waiting) - 1) // length
        if chunks:
            text = waiting[: chunks * length + 1]
            yield TextBlock(text, first, path.name, length, source.passage_chunks, given_split)
            first, waiting = first + chunks, waiting[chunks * length :]
    if not first:
        yield TextBlock("", 0, path.name, length, source.passage_chunks, given_split)
    if rest := len(waiting) - bool(first):  # the first of them is in a chunk, too
        on_rest(path.name, rest)


def _decoded(path: Path, block_bytes: int) -> Iterator[str]:
    rest, begin = b"", 0
    with open_plain(path) as stream:
        while True:
            read = stream.read(block_bytes)
            content = rest + read
            try:
                text, used = codecs.utf_8_decode(content, "strict", not read)
            except UnicodeDecodeError as error:
                raise DataError(_no_utf8(path, content, begin, error)) from error
            yield text.removeprefix(_MARK) if begin == 0 else text
            if not read:
                return
            rest, begin = content[used:], begin + used


def _no_utf8(path: Path, content: bytes, begin: int, error: UnicodeDecodeError) -> str:
    found = content[error.start : error.end].hex(" ")
    utf16 = begin == 0 and content[:2] in (b"\xff\xfe", b"\xfe\xff")
    fix = "convert it, as in `iconv -f UTF-16 -t UTF-8`" if utf16 else "fix it there, or convert the file to UTF-8"
    return f"{path.name}, byte {begin + error.start}: expected UTF-8 text, found {found}; {fix}"


def _log_rest(file: str, characters: int) -> None:
    import structlog

    structlog.get_logger().info(
        "the end of a file is shorter than a chunk, and is not used", file=file, characters=characters
    )
