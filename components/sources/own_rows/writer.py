"""Tables as one Parquet file whose bytes depend on the rows alone, and not on how they were cut into tables."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from headrace.components.errors import DataError
from headrace.components.sources.grouping import grouped

_BLOCK_ROWS = 1 << 12
_GROUP_ROWS = 1 << 17
_GROUP_BYTES = 1 << 26


def write_tables(tables: Iterable[pa.Table], file: Path, *, place: str) -> None:
    """Write tables of one schema as row groups of about 64 MiB, at most 131,072 rows; memory holds one of them.

    Raises DataError for no rows, and for a type that Parquet does not have.
    """
    groups = _groups(_blocks(tables))
    if (first := next(groups, None)) is None:
        raise DataError(f"{place} gave no rows")
    with _open(file, first.schema, place=place) as writer:
        for group in chain([first], groups):
            writer.write_table(group, row_group_size=group.num_rows)


def _open(file: Path, schema: pa.Schema, *, place: str) -> pq.ParquetWriter:
    try:
        return pq.ParquetWriter(file, schema, compression="zstd", compression_level=1)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(f"{place}: a Parquet file can't hold {', '.join(map(str, schema.types))}: {error}") from error


def _blocks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """All rows in blocks of equal length, but for the last one: where a block ends, so may a page of the file."""
    pending: list[pa.Table] = []
    count = 0
    for table in tables:
        rest = table
        while count + rest.num_rows >= _BLOCK_ROWS:
            yield pa.concat_tables([*pending, rest.slice(0, _BLOCK_ROWS - count)]).combine_chunks()
            rest, pending, count = rest.slice(_BLOCK_ROWS - count), [], 0
        if rest.num_rows:
            pending.append(rest)
            count += rest.num_rows
    if pending:
        yield pa.concat_tables(pending).combine_chunks()


def _groups(blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Blocks side by side, each group as long as its content allows."""
    most_blocks = _GROUP_ROWS // _BLOCK_ROWS
    yield from map(
        pa.concat_tables, grouped(blocks, size_bytes=_content_bytes, most_bytes=_GROUP_BYTES, most_items=most_blocks)
    )


def _content_bytes(table: pa.Table) -> int:
    """About what the values take, the same however they lie in memory: `Table.nbytes` counts bitmaps of no nulls."""
    texts = [column for column in table.columns if types.is_large_string(column.type) or _is_binary(column.type)]
    lengths: list[int] = [pc.sum(pc.binary_length(column)).as_py() or 0 for column in texts]
    return sum(lengths) + 8 * int(table.num_rows) * int(table.num_columns)


def _is_binary(found: pa.DataType) -> bool:
    return bool(types.is_large_binary(found) or types.is_fixed_size_binary(found))
