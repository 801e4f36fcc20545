"""Delimited text (CSV, TSV), plain or compressed, read block by block.

Arrow's reader and not Polars's, which fills a short row with nulls in silence.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from headrace.components.errors import DataError
from headrace.components.sources.compressed import open_plain
from headrace.components.sources.delimited.row_blocks import RowBlock, cut_rows, read_header, require_closed_quotes
from headrace.components.sources.delimited.source import DelimitedPart
from headrace.components.sources.raw_part import GivenSplit, RawPart, RowError, require_columns
from headrace.components.sources.source import BLOCK_BYTES

_CONTENT = re.compile(rb"[^\r\n]")
_VALUE_BYTES = 8  # a guess
_LEAST_ROWS = 1 << 11
_WIDEST_BLOCK_BYTES = 1 << 26
_READ_BYTES = 1 << 20  # that Arrow reads at once: they stay in the processor's cache, which saves a sixth of the time


@dataclass(frozen=True)
class Layout:
    """What must be known to read any block of a delimited file: its columns, and those that are wanted."""

    file: str
    names: tuple[str, ...]
    wanted: tuple[str, ...]
    separator: str
    null_values: tuple[str, ...]
    given_split: GivenSplit | None = None


@dataclass(frozen=True)
class DelimitedBlock:
    """Some rows of a delimited file, and all that is needed to read them."""

    rows: RowBlock
    layout: Layout

    def read(self, *, numbers: Collection[str] = ()) -> RawPart:
        """Wanted columns as String (null where a value is in `null_values`), or Float64 for `numbers`.

        If a value of `numbers` is no number, all columns are String. Raises RowError for a row of another length than
        the header's, a quote that is not closed, and text that is not UTF-8.
        """
        rows, layout = self.rows, self.layout
        if not rows.is_regular:
            require_closed_quotes(rows, file=layout.file, separator=layout.separator)
        try:
            table = _read(rows, layout, numbers)
        except _NotANumberError:
            table = _read(rows, layout, ())
        return RawPart(table, dict.fromkeys(layout.wanted, layout.file), layout.given_split)


def delimited_blocks(path: Path, layout: Layout) -> Iterator[DelimitedBlock]:
    """Yield the rows of a file in blocks; raise DataError if there are none."""
    with open_plain(path) as stream:
        _, header_bytes = read_header(stream, file=layout.file, separator=layout.separator)
    with open_plain(path) as stream:
        stream.read(header_bytes)
        empty = True
        for rows in cut_rows(stream, separator=layout.separator, block_bytes=_block_bytes(len(layout.names))):
            if _CONTENT.search(rows.content):
                empty = False
                yield DelimitedBlock(rows, layout)
    if empty:
        raise DataError(f"{layout.file} has a header line but no rows")


def _block_bytes(columns: int) -> int:
    """Larger blocks of wide tables: what a column costs in every block, however short, grows with their number too."""
    return min(_WIDEST_BLOCK_BYTES, max(BLOCK_BYTES, columns * _VALUE_BYTES * _LEAST_ROWS))


def read_layout(
    path: Path,
    *,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    separator: str,
    null_values: Sequence[str],
    replaced_by: Sequence[str] | None = None,
    given_split: GivenSplit | None = None,
) -> Layout:
    """Layout of a file that must have `columns` and may have those of `optional`.

    `replaced_by` takes the place of the names in the header line. Raises DataError for a missing or repeated column.
    """
    names = column_names(path, separator=separator, replaced_by=replaced_by)
    wanted = tuple(dict.fromkeys([*columns, *(name for name in optional if name in names)]))
    require_columns(wanted, [names], files=path.name)
    return Layout(path.name, tuple(names), wanted, separator, tuple(null_values), given_split)


def read_delimited_file(
    path: Path, *, columns: Sequence[str], optional: Sequence[str], separator: str, null_values: Sequence[str]
) -> pl.DataFrame:
    """`columns`, and those of `optional` that the file has, as String; null and errors as for a block."""
    layout = read_layout(path, columns=columns, optional=optional, separator=separator, null_values=null_values)
    return pl.concat(part.table for part in _parts(path, layout))


def read_delimited_part(
    part: DelimitedPart, paths: Sequence[Path], *, columns: Sequence[str], separator: str, null_values: Sequence[str]
) -> RawPart:
    """`columns` as String, from files that stand side by side, which must fit into memory.

    Raises DataError for a column that is in none or in two of them, and for files of unequal row counts; else as for a
    block.
    """
    headers = [
        column_names(path, separator=separator, replaced_by=file.columns)
        for file, path in zip(part.files, paths, strict=True)
    ]
    require_columns(columns, headers, files=" and ".join(path.name for path in paths))
    tables: list[pl.DataFrame] = []
    files: dict[str, str] = {}
    for path, names in zip(paths, headers, strict=True):
        wanted = tuple(name for name in names if name in columns)
        layout = Layout(path.name, tuple(names), wanted or (names[0],), separator, tuple(null_values))
        tables.append(pl.concat(read.table for read in _parts(path, layout)))
        files |= dict.fromkeys(wanted, path.name)
    _require_equal_heights(tables, paths)
    wide = pl.concat([table.select(set(table.columns) & set(files)) for table in tables], how="horizontal")
    return RawPart(wide.select(columns), files, part.given_split)


def _parts(path: Path, layout: Layout) -> Iterator[RawPart]:
    """Every block as text, and errors with the row's place in the file."""
    rows = 0
    for block in delimited_blocks(path, layout):
        try:
            part = block.read()
        except RowError as error:
            raise error.after(rows) from error
        rows += part.table.height
        yield part


def column_names(path: Path, *, separator: str, replaced_by: Sequence[str] | None = None) -> list[str]:
    """Column names: the header line's, or what `columns` in params.yaml puts in their place."""
    with open_plain(path) as stream:
        header, _ = read_header(stream, file=path.name, separator=separator)
    if replaced_by is None:
        return header
    if len(header) != len(replaced_by):
        raise DataError(
            f"{path.name} has {len(header)} columns ({', '.join(header)}), "
            f"but `columns` names {len(replaced_by)} ({', '.join(replaced_by)})"
        )
    return list(replaced_by)


def _read(rows: RowBlock, layout: Layout, numbers: Collection[str]) -> pl.DataFrame:
    """Wanted columns; raise _NotANumberError if a value of `numbers` is none."""
    # In one thread, because only then does Arrow name the row in an error. Columns go by place ("0", "1", ...),
    # because a file may repeat a name that nobody asks for.
    places = {str(layout.names.index(name)): name for name in layout.wanted}
    types = {place: pa.float64() if name in numbers else pa.large_string() for place, name in places.items()}
    try:
        table = _read_pieces(rows, layout, types)
    except pa.ArrowInvalid as error:
        if numbers and "conversion error to double" in str(error):
            raise _NotANumberError from error
        raise _explained(layout.file, str(error)) from error
    frame = pl.DataFrame(pl.from_arrow(table))
    return frame.select(pl.col(place).alias(name) for place, name in places.items())


def _read_pieces(rows: RowBlock, layout: Layout, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Read some bytes after the other, unless a row is longer, or quotes may hide line ends: all at once then."""
    is_quoted = b'"' in rows.content
    if not is_quoted:
        try:
            return _read_all(rows, layout, types, at_once_bytes=_READ_BYTES)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
    return _read_all(rows, layout, types, at_once_bytes=len(rows.content) + 1, newlines_in_values=is_quoted)


def _read_all(
    rows: RowBlock,
    layout: Layout,
    types: Mapping[str, pa.DataType],
    *,
    at_once_bytes: int,
    newlines_in_values: bool = False,
) -> pa.Table:
    table = arrow_csv.read_csv(
        pa.BufferReader(rows.content),
        arrow_csv.ReadOptions(
            use_threads=False,
            block_size=at_once_bytes,
            column_names=[str(place) for place in range(len(layout.names))],
        ),
        arrow_csv.ParseOptions(delimiter=layout.separator, newlines_in_values=newlines_in_values),
        arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=list(layout.null_values),
            strings_can_be_null=True,
        ),
    )
    return table.combine_chunks()


class _NotANumberError(Exception):
    """Text where a number should be."""


def _explained(file: str, error: str) -> DataError:
    """Arrow's message in our words."""
    if bad := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", error, re.DOTALL):
        return RowError(file, int(bad[1]), f"expected {bad[2]} values, found {bad[3]} in {bad[4]!r}")
    if bad := re.search(r"Row #(\d+): .*UTF8", error):
        return RowError(file, int(bad[1]), "expected UTF-8 text, found other bytes")
    return DataError(f"{file} is not delimited UTF-8 text: {error}")


def _require_equal_heights(tables: Sequence[pl.DataFrame], paths: Sequence[Path]) -> None:
    if len({table.height for table in tables}) > 1:
        counts = ", ".join(f"{path.name} {table.height}" for path, table in zip(paths, tables, strict=True))
        raise DataError(f"files that stand side by side must have equally many rows, found {counts}")
