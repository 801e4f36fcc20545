"""Parquet files, read batch by batch: memory holds one, however long the file or its row groups are.

Columns go by name. What the schema asks of a column decides what types it may have: a type is never guessed at, and no
digit is lost unnoticed.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from components.errors import DataError
from components.examples.settings import NumberFeature, RowSchema
from components.sources.part import RawPart, require_columns
from components.sources.settings import GivenSplit

_BLOCK_BYTES = 1 << 26
_BLOCK_ROWS = 1 << 19
_BUFFER_BYTES = 1 << 18  # of each column; without, Arrow reads those of a whole row group at once


def parquet_blocks(path: Path, *, schema: RowSchema, given_split: GivenSplit | None = None) -> Iterator[RawPart]:
    """Yield the source columns of a file, about 64 MiB at a time, as numbers where only numbers are asked for.

    All others are String: whole numbers in digits, truth values `true` and `false`, dates and times as ISO 8601 has
    them. Raises DataError for a column that is missing or has another type than the schema can take, and for a file
    that is damaged or has no rows.
    """
    file = _opened(path)
    with _damage_told(path):
        found = file.schema_arrow
    with file:
        names = schema.source_columns
        require_columns(names, [found.names], files=path.name)
        converted = pa.schema([(name, _target(found.field(name), schema, path.name)) for name in names])
        if not file.metadata.num_rows:
            raise DataError(f"{path.name} has no rows")
        batches = file.iter_batches(_rows_at_once(file.metadata), columns=list(names), use_threads=False)
        rows = 0
        while True:
            with _damage_told(path):
                if (batch := next(batches, None)) is None:
                    return
                columns = [_converted(batch[field.name], field.type) for field in converted]
            for name, column in zip(names, columns, strict=True):
                _require_text(column, name, path.name, rows)
            rows += batch.num_rows
            table = pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(columns, schema=converted)))
            yield RawPart(table, dict.fromkeys(names, path.name), given_split)


def parquet_columns(path: Path) -> list[str]:
    """Return the names of a file's columns; raise DataError if it is damaged."""
    with _damage_told(path), _opened(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def _opened(path: Path) -> pq.ParquetFile:
    with _damage_told(path):
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER_BYTES)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
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
    """Return the type that a column is read as; raise DataError if the schema can't take what it has."""
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
    mend = "; for a date or time, set date_format: iso" if is_moment else ""
    raise DataError(
        f"{file}: column {name!r}: expected {_expected(formats, is_number and not is_exact)}, found {field.type}{mend}"
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
        is_finer = column.type.unit == "ns"  # what is finer than a microsecond is cut off; else an overflow is an error
        utc = column.cast(pa.timestamp("us", "UTC"), safe=not is_finer)
        return pc.strftime(utc, "%Y-%m-%dT%H:%M:%SZ").cast(target)
    if types.is_floating(column.type):
        return _whole_or_as_is(column.cast(pa.float64()))
    return column.cast(target)


def _whole_or_as_is(column: pa.Array) -> pa.Array:
    """Floats as text, whole ones as whole numbers: pandas makes 1.0 of 1 where a column has missing values."""
    values = pl.Series(column).fill_nan(None)
    whole = (values % 1 == 0) & (values.abs() < 2**53)
    frame = pl.DataFrame({"value": values, "whole": whole})
    value = pl.col("value")
    text = pl.when("whole").then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
    return frame.select(text).to_series().to_arrow().cast(pa.large_string())
