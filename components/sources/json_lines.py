"""JSON lines (https://jsonlines.org), plain or compressed, read block by block.

Arrow reads a block at 150 MB a second. What it refuses, or takes in another way than we do, Python's json reads once
more, at a tenth of that: it keeps numbers as they are written, and says which row is wrong.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.sources.compressed import open_plain
from headrace.components.sources.raw_part import GivenSplit, RawPart, RowError
from headrace.components.sources.source import BLOCK_BYTES, LONGEST_ROW_BYTES, Block, Source
from headrace.components.sources.table_file import TableFile, suffix_of
from headrace.components.sources.table_source import RowFileSource

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_MARK = b"\xef\xbb\xbf"
_ROWS_LOOKED_AT = 64


class JsonLinesSource(RowFileSource):
    """One JSON object a line, UTF-8; a key that an object lacks is missing there, other keys are left out."""

    kind: Literal["json_lines"] = "json_lines"
    table_suffixes = (".jsonl", ".ndjson")

    def blocks(self, file: Path, *, schema: ExampleSchema, given_split: GivenSplit | None) -> Iterable[Block]:
        """Lines of a file."""
        return json_blocks(file, columns=schema.source_columns, lists=schema.list_columns, given_split=given_split)

    @classmethod
    def open_table(cls, path: Path, *, source: Source, columns: Sequence[str]) -> TableFile | None:
        """A file that ends in .jsonl or .ndjson."""
        return JsonLinesTable(path) if suffix_of(path) in cls.table_suffixes else None


class JsonLinesTable(TableFile):
    """JSON lines to predict."""

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names with a value in any row."""
        found: set[str] = set()
        if names:
            with suppress(RowError):  # reported, with its place, where the rows themselves are read
                for block in json_blocks(self.path, columns=names):
                    table = block.read().table
                    found |= {name for name in names if table[name].null_count() < table.height}
                    if len(found) == len(names):
                        break
        return tuple(name for name in names if name in found)

    def blocks(self, schema: RowSchema) -> Iterable[Block]:
        """Lines of the file."""
        return json_blocks(self.path, columns=schema.source_columns, lists=schema.list_columns)

    def nested_blocks(self, columns: Sequence[str]) -> "Iterable[pl.DataFrame]":
        """Values of the columns, which may be lists, in blocks of lines."""
        import polars as pl

        for block in json_blocks(self.path, columns=columns):
            try:
                rows = [json.loads(line) for line in block.content.split(b"\n") if line.strip()]
                yield pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], strict=False)
            except (ValueError, AttributeError, RecursionError, pl.exceptions.PolarsError) as error:
                problem = " ".join(str(error).split())
                raise DataError(f"{self.path.name} is not one JSON object a line: {problem}") from error


@dataclass(frozen=True)
class JsonBlock:
    """Whole lines of a file, and the keys that are wanted; the values of some may be lists."""

    content: bytes
    file: str
    columns: tuple[str, ...]
    given_split: GivenSplit | None = None
    lists: frozenset[str] = frozenset()

    def read(self, *, numbers: Collection[str] = ()) -> RawPart:
        """Wanted keys as String, as they are written, or Float64 for `numbers`; null where there is none.

        If Arrow can't read it so, all columns are String. Empty lines are no rows. Raises RowError for a line that is
        too long or no JSON object, a wanted key that comes twice, and a list or object where a value should be. A
        list among `lists` is List(Float64), or String in brackets.
        """
        table = _read_by_arrow(self, numbers)
        if table is None:
            table = _read_by_python(self)
        return RawPart(table, dict.fromkeys(self.columns, self.file), self.given_split)


def json_blocks(
    path: Path,
    *,
    columns: Sequence[str],
    lists: frozenset[str] = frozenset(),
    given_split: GivenSplit | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[JsonBlock]:
    """Yield the lines of a file in blocks; raise DataError if there are none.

    The last block is cut short within a line that is longer than a row may be: to read it is an error.
    """
    rest, is_first, is_empty = b"", True, True
    with open_plain(path) as stream:
        while chunk := stream.read(block_bytes):
            content = rest + (chunk.removeprefix(_MARK) if is_first else chunk)
            is_first = False
            end = content.rfind(b"\n") + 1
            rest = content[end:]
            if content[:end].strip():
                is_empty = False
                yield JsonBlock(content[:end], path.name, tuple(columns), given_split, lists)
            if len(rest) > LONGEST_ROW_BYTES:
                break
    if rest.strip():
        is_empty = False
        yield JsonBlock(rest, path.name, tuple(columns), given_split, lists)
    if is_empty:
        raise DataError(f"{path.name} has no rows")


def _read_by_arrow(block: JsonBlock, numbers: Collection[str]) -> "pl.DataFrame | None":
    """The wanted columns; None if Python must look closer."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.json as arrow_json

    content = block.content
    if content.startswith(_MARK):  # only a file may begin so, of which it has been taken away
        return None
    try:
        content.decode()  # Arrow does not look
        types = _types(block, numbers)
        table = arrow_json.read_json(
            pa.BufferReader(content),
            arrow_json.ReadOptions(use_threads=False, block_size=len(content) + 1),
            arrow_json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore"),
        )
    except (ValueError, AttributeError, RecursionError):  # Arrow's and json's errors are ValueErrors
        return None
    if table.num_rows != sum(1 for line in content.split(b"\n") if line and not line.isspace()):
        return None  # an object over several lines, or several in one
    frame = pl.DataFrame(pl.from_arrow(table)).select(block.columns)
    return frame.with_columns(pl.col(pl.Int64, pl.Boolean).cast(pl.String))


def _types(block: JsonBlock, numbers: Collection[str]) -> "list[tuple[str, pa.DataType]]":
    """The types that the first rows have: if another row has others, Arrow does not read the block."""
    import pyarrow as pa

    found: dict[str, Any] = {}
    for line in block.content.split(b"\n", _ROWS_LOOKED_AT)[:_ROWS_LOOKED_AT]:
        row = json.loads(line) if line.strip() else {}
        found = {name: value for name, value in row.items() if value is not None} | found
    kinds: dict[type, pa.DataType] = {int: pa.int64(), bool: pa.bool_()}
    known = {**dict.fromkeys(numbers, pa.float64()), **dict.fromkeys(block.lists, pa.list_(pa.float64()))}
    return [(name, known.get(name) or kinds.get(type(found.get(name)), pa.large_string())) for name in block.columns]


def _read_by_python(block: JsonBlock) -> "pl.DataFrame":
    import polars as pl

    lines = (line for line in block.content.split(b"\n") if line and not line.isspace())
    rows = [_row(line, block, number) for number, line in enumerate(lines, start=1)]
    columns = zip(*rows, strict=True)
    return pl.DataFrame(
        [pl.Series(name, column, dtype=pl.String) for name, column in zip(block.columns, columns, strict=True)]
    )


def _row(line: bytes, block: JsonBlock, number: int) -> list[str | None]:
    pairs = _object(line, block.file, number)
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        for name in block.columns:
            if names.count(name) > 1:
                raise RowError(block.file, number, f"key {name!r} comes {names.count(name)} times")
    return [_text(values.get(name), name, block.file, number, is_list=name in block.lists) for name in block.columns]


def _element(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _object(line: bytes, file: str, number: int) -> tuple[tuple[str, Any], ...]:
    """Keys and values of a line; numbers and constants are text, as they are written."""
    if len(line) > LONGEST_ROW_BYTES:
        raise RowError(file, number, f"longer than {LONGEST_ROW_BYTES} bytes")
    try:
        value = _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise RowError(file, number, "expected UTF-8 text, found other bytes") from error
    except RecursionError as error:
        raise RowError(file, number, "lists or objects in each other without end") from error
    except json.JSONDecodeError as error:
        raise RowError(file, number, f"not a JSON object ({error.msg}, character {error.pos + 1})") from error
    if not isinstance(value, tuple):
        found = "a list" if isinstance(value, list) else f"{value!r:.40}"
        raise RowError(file, number, f"expected one object a line, found {found}")
    return value


def _text(value: Any, name: str, file: str, number: int, *, is_list: bool) -> str | None:
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, list) and is_list:
        return f"[{', '.join(map(_element, value))}]"
    if not isinstance(value, str):
        found = "an object" if isinstance(value, tuple) else "a list"
        raise RowError(file, number, f"key {name!r}: expected a value, found {found}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise RowError(file, number, f"key {name!r}: expected text, found half of a surrogate pair")
    return value


def _digits(text: str) -> str:
    return "0" if text == "-0" else text  # as Arrow has it


# Objects become tuples of pairs: so a repeated key is seen, and an object is distinguished from a list.
_DECODER = json.JSONDecoder(parse_int=_digits, parse_float=str, parse_constant=str, object_pairs_hook=tuple)
