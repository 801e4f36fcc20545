"""Parquet files, read batch by batch: memory holds one, however long the file or its row groups are.

Columns go by name. What the schema asks of a column decides what types it may have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import RowSchema
from headrace.components.sources.arrow_columns import arrow_blocks, as_iso, is_in_range, longest_of_dictionary
from headrace.components.sources.compressed import MAX_RATIO, too_large
from headrace.components.sources.raw_part import GivenSplit, require_columns
from headrace.components.sources.source import Block

_BLOCK_BYTES = 1 << 26
_BLOCK_ROWS = 1 << 19
_PAGES_BYTES = 1 << 29  # of a column in a row group, however well it is compressed: one of zeros may be
_EXPANDED_BYTES = 1 << 28  # of rows that share their texts
_BUFFER_BYTES = 1 << 18  # of each column; without, Arrow reads those of a whole row group at once


def parquet_blocks(
    path: Path, *, schema: RowSchema, given_split: GivenSplit | None = None, block_bytes: int = _BLOCK_BYTES
) -> Iterator[Block]:
    """Yield the source columns of a file, about 64 MiB at a time by default, as `arrow_blocks` does.

    Raises DataError for a column that is missing or has another type than the schema can take, and for a file that is
    damaged or has no rows.
    """
    file = open_parquet(path)
    with damage_reported(path):
        found = file.schema_arrow
    with file:
        names = schema.source_columns
        require_columns(names, [found.names], files=path.name)
        if not file.metadata.num_rows:
            raise DataError(f"{path.name} has no rows")
        _require_no_bomb(path, file.metadata, names)
        batches = _batches(path, file, names, block_bytes=block_bytes)
        yield from arrow_blocks(
            batches, found, path=path, schema=schema, given_split=given_split, reported=damage_reported
        )


def nested_blocks(path: Path, columns: Sequence[str], *, block_bytes: int) -> Iterator[pl.DataFrame]:
    """Yield these columns in their own types, about `block_bytes` at a time; raise DataError if one is missing."""
    file = open_parquet(path)
    with damage_reported(path), file:
        require_columns(columns, [file.schema_arrow.names], files=path.name)
        if not file.metadata.num_rows:
            raise DataError(f"{path.name} has no rows")
        _require_no_bomb(path, file.metadata, columns)
        for batch in _batches(path, file, columns, block_bytes=block_bytes):
            yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))


def parquet_columns(path: Path) -> list[str]:
    """Names of a file's columns; raise DataError if it is damaged."""
    with damage_reported(path), open_parquet(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def open_parquet(
    path: Path, *, int96_unit: Literal["s", "us"] = "us", dictionaries: Sequence[str] = ()
) -> pq.ParquetFile:
    """The file; times as INT96, which Spark and Impala write, wrap around outside of 1677 to 2262 by default (ns).

    Texts of the columns `dictionaries` are read as they are written, where they are written as a dictionary.
    """
    with damage_reported(path):
        return pq.ParquetFile(
            path,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            coerce_int96_timestamp_unit=int96_unit,
            read_dictionary=list(dictionaries),
        )


def require_footer(path: Path) -> None:
    """Raise DataError for a file whose footer can't be read, or names bytes that the file does not have.

    For readers that end the whole process over one.
    """
    with damage_reported(path):
        metadata, size_bytes = pq.read_metadata(path), path.stat().st_size
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                # Some writers say 0 where there is no dictionary.
                starts = [chunk.data_page_offset, *filter(None, [chunk.dictionary_page_offset])]
                if not 0 < min(starts) <= min(starts) + chunk.total_compressed_size < size_bytes:
                    raise pa.ArrowInvalid(f"column {chunk.path_in_schema!r} is said to lie outside of the file")


def _require_no_bomb(path: Path, metadata: pq.FileMetaData, names: Sequence[str]) -> None:
    """Raise DataError for a column that says it decompresses to more than it may: a page is held in memory."""
    wanted = set(names)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            allowed = max(MAX_RATIO * chunk.total_compressed_size, _PAGES_BYTES)
            if chunk.total_uncompressed_size > allowed and chunk.path_in_schema.partition(".")[0] in wanted:
                raise too_large(path, allowed)


def _batches(path: Path, file: pq.ParquetFile, names: Sequence[str], *, block_bytes: int) -> Iterator[pa.RecordBatch]:
    """The rows in batches, INT96 as text: what is beyond microseconds has wrapped around, and is read in seconds."""
    most = _rows_at_once(file.metadata, block_bytes)
    size = min(most, _EXPANDED_BYTES // max(1, _longest_text(path, file.metadata, names)) or 1)
    batches = file.iter_batches(size, columns=list(names), use_threads=False)
    leaves = [file.schema.column(number) for number in range(len(file.schema))]
    wide = [leaf.path for leaf in leaves if leaf.physical_type == "INT96" and leaf.path in names]
    if not wide:
        yield from batches
        return
    with open_parquet(path, int96_unit="s") as in_seconds:
        for batch, seconds in zip(batches, in_seconds.iter_batches(size, columns=wide, use_threads=False), strict=True):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            for name in wide:
                text = pc.if_else(is_in_range(seconds[name]), as_iso(batch[name]), as_iso(seconds[name]))
                columns[name] = text.cast(pa.large_string())
            yield pa.record_batch(columns)


def _longest_text(path: Path, metadata: pq.FileMetaData, names: Sequence[str]) -> int:
    """Longest text that many rows may share, in bytes: a dictionary of one long text may be named by each row.

    Of texts that are written as what is added to the one before, it is no longer than all of them together. Texts and
    bytes within structures, as of images, count as well.
    """
    longest, wanted = 0, set(names)
    leaves = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    texts = {
        leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.path.partition(".")[0] in wanted
    }
    with open_parquet(path, dictionaries=sorted(texts)) as file:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for chunk in map(group.column, range(group.num_columns)):
                name, encodings = chunk.path_in_schema, {*chunk.encodings}
                if name not in texts:
                    continue
                if "DELTA_BYTE_ARRAY" in encodings:
                    longest = max(longest, chunk.total_uncompressed_size)
                elif encodings & {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}:
                    rows = file.iter_batches(1, row_groups=[number], columns=[name], use_threads=False)
                    longest = max([longest, *(longest_of_dictionary(_leaf(row[0])) for row in islice(rows, 1))])
    return longest


def _leaf(values: pa.Array) -> pa.Array:
    """The values within structures and lists of one field each."""
    while pa.types.is_nested(values.type):
        values = values.field(0) if pa.types.is_struct(values.type) else values.values
    return values


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Make one DataError, which names the file, of what Arrow raises for a damaged one."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: names of columns
        if getattr(error, "errno", None) is not None:  # a disk that can't be read, not a damaged file
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path.name} is a damaged Parquet file, or none ({reason}): write or fetch it again"
        ) from error


def _rows_at_once(metadata: pq.FileMetaData, block_bytes: int) -> int:
    content_bytes: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    row_bytes: int = content_bytes // metadata.num_rows + 8 * metadata.num_columns
    return max(1, min(_BLOCK_ROWS, block_bytes // row_bytes))
