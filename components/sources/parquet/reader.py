"""Parquet files, read batch by batch: memory holds one, however long the file or its row groups are.

Columns go by name. What the schema asks of a column decides what types it may have: a type is never guessed at, and no
digit is lost unnoticed.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.features import NumberFeature
from headrace.components.sources.raw_part import GivenSplit, RawPart, require_columns

_BLOCK_BYTES = 1 << 26
_BLOCK_ROWS = 1 << 19
_BUFFER_BYTES = 1 << 18  # of each column; without, Arrow reads those of a whole row group at once
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999


def parquet_blocks(path: Path, *, schema: RowSchema, given_split: GivenSplit | None = None) -> Iterator[RawPart]:
    """Yield the source columns of a file, about 64 MiB at a time, as numbers where only numbers are asked for.

    All others are String: whole numbers in digits, truth values `true` and `false`, dates and times as ISO 8601 has
    them. Raises DataError for a column that is missing or has another type than the schema can take, and for a file
    that is damaged or has no rows.
    """
    file = open_parquet(path)
    with damage_reported(path):
        found = file.schema_arrow
    with file:
        names = schema.source_columns
        require_columns(names, [found.names], files=path.name)
        converted = pa.schema([(name, _target(found.field(name), schema, path.name)) for name in names])
        if not file.metadata.num_rows:
            raise DataError(f"{path.name} has no rows")
        rows = 0
        batches = _batches(path, file, names)
        while True:
            with damage_reported(path):
                if (batch := next(batches, None)) is None:
                    return
                columns = [_converted(batch[field.name], field.type) for field in converted]
            for name, column in zip(names, columns, strict=True):
                _require_text(column, name, path.name, rows)
            rows += batch.num_rows
            table = pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(columns, schema=converted)))
            yield RawPart(table, dict.fromkeys(names, path.name), given_split)


def parquet_columns(path: Path) -> list[str]:
    """Names of a file's columns; raise DataError if it is damaged."""
    with damage_reported(path), open_parquet(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def open_parquet(path: Path, *, int96_unit: Literal["s", "us"] = "us") -> pq.ParquetFile:
    """The file; times as INT96, which Spark and Impala write, wrap around outside of 1677 to 2262 by default (ns)."""
    with damage_reported(path):
        return pq.ParquetFile(
            path,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            coerce_int96_timestamp_unit=int96_unit,
        )


def _batches(path: Path, file: pq.ParquetFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows in batches, INT96 as text: what is beyond microseconds has wrapped around, and is read in seconds."""
    size = _rows_at_once(file.metadata)
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
                text = pc.if_else(_is_in_range(seconds[name]), _as_iso(batch[name]), _as_iso(seconds[name]))
                columns[name] = text.cast(pa.large_string())
            yield pa.record_batch(columns)


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


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    content_bytes: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    row_bytes: int = content_bytes // metadata.num_rows + 8 * metadata.num_columns
    return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // row_bytes))


def _target(field: pa.Field, schema: RowSchema, file: str) -> pa.DataType:
    """Type that a column is read as; raise DataError if the schema can't take what it has."""
    found = field.type.value_type if types.is_dictionary(field.type) else field.type
    feature, name = schema.columns.get(field.name), field.name
    formats = [feature.date_format] if isinstance(feature, NumberFeature) and feature.date_format else []
    formats += [schema.time.date_format] if schema.time and schema.time.column == name else []
    is_number = isinstance(feature, NumberFeature) and not formats
    is_exact = name in (*schema.key, *schema.group) or bool(formats)
    if _is_text(found) or types.is_null(found) or (types.is_decimal(found) and not formats):
        return pa.large_string()
    if types.is_integer(found) or types.is_boolean(found):
        return pa.large_string() if is_exact or not is_number else found
    if types.is_floating(found) and not is_exact:
        return pa.float64() if is_number else pa.large_string()
    is_moment = types.is_date(found) or types.is_timestamp(found)
    if is_moment and is_exact and set(formats) <= {"iso"} and not is_number:
        return pa.large_string()
    fix = "; for a date or time, set date_format: iso" if is_moment else ""
    raise DataError(
        f"{file}: column {name!r}: expected {_expected(formats, is_number and not is_exact)}, found {field.type}{fix}"
    )


def _is_text(found: pa.DataType) -> bool:
    return bool(types.is_string(found) or types.is_large_string(found) or types.is_string_view(found))


def _expected(formats: Sequence[str], is_number: bool) -> str:
    if formats:
        return f"dates or times as {formats[0]}"
    return "numbers" if is_number else "text or whole numbers"


def _require_text(column: pa.Array, name: str, file: str, rows_before: int) -> None:
    """Raise DataError for text that is not UTF-8: nothing that has the column after this would look."""
    if column.type != pa.large_string():
        return
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        found = re.search(r"string index (\d+)", str(error))
        row = rows_before + int(found[1]) + 1 if found else rows_before
        raise DataError(f"{file}, row {row}, column {name!r}: expected UTF-8 text, found other bytes") from error


def _converted(column: pa.Array, target: pa.DataType) -> pa.Array:
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if target != pa.large_string() or column.type == target:
        return column.cast(target)
    if types.is_timestamp(column.type):
        return _as_iso(column).cast(target)
    if types.is_floating(column.type):
        return _whole_or_as_is(column.cast(pa.float64()))
    return column.cast(target)


def _as_iso(column: pa.Array) -> pa.Array:
    """Moments as ISO 8601 has them in UTC, what is finer than a microsecond cut off.

    Others than of the years 1 to 9999 become words that are no moment: Arrow's calendar wraps around far outside.
    """
    in_range = _is_in_range(column)
    utc = pc.if_else(in_range, column, pa.scalar(0, column.type)).cast(pa.timestamp("us", "UTC"), safe=False)
    words = pc.binary_join_element_wise(
        column.cast(pa.int64()).cast(pa.string()), f"{column.type.unit} since 1970", " "
    )
    return pc.if_else(in_range, pc.strftime(utc, "%Y-%m-%dT%H:%M:%SZ"), words)


def _is_in_range(moments: pa.Array) -> pa.Array:
    """Where there is no moment, or one of the years 1 to 9999."""
    numbers, unit = moments.cast(pa.int64()), _UNITS[moments.type.unit]
    first, last = max(_FIRST_SECOND * unit, -(2**63)), min((_LAST_SECOND + 1) * unit - 1, 2**63 - 1)
    in_range = pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last))
    return in_range.fill_null(pa.scalar(True))


def _whole_or_as_is(column: pa.Array) -> pa.Array:
    """Floats as text, whole ones as whole numbers: pandas makes 1.0 of 1 where a column has missing values."""
    values = pl.Series(column).fill_nan(None)
    whole = (values % 1 == 0) & (values.abs() < 2**53)
    frame = pl.DataFrame({"value": values, "whole": whole})
    value = pl.col("value")
    text = pl.when("whole").then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
    return frame.select(text).to_series().to_arrow().cast(pa.large_string())
