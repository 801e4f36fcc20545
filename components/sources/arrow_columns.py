"""Columns of Arrow as the types of the schema: a type is never guessed at, and no digit is lost unnoticed."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.image_rows import image_rows
from headrace.components.sources.raw_part import GivenSplit, RawPart, require_columns
from headrace.components.sources.source import Block

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999


def arrow_blocks(
    batches: Iterable[pa.RecordBatch],
    found: pa.Schema,
    *,
    path: Path,
    schema: RowSchema,
    given_split: GivenSplit | None,
    reported: Callable[[Path], AbstractContextManager[None]],
    rows_before: int = 0,
) -> Iterator[Block]:
    """Yield the source columns of batches, as numbers where only numbers are asked for, and images undecoded.

    All others are String: whole numbers in digits, truth values `true` and `false`, dates and times as ISO 8601 has
    them. An image is bytes, or a struct with `bytes`. What is raised while a batch is read is within `reported`; the
    first batch comes after `rows_before` rows of the file. Raises DataError for a column that is missing or has another
    type than the schema can take.
    """
    names = schema.source_columns
    require_columns(names, [found.names], files=path.name)
    known = ImageFeature.among(schema.columns)
    images = [name for name in names if name in known]
    others = [name for name in names if name not in images]
    for name in images:
        _require_bytes(found.field(name), path.name)
    converted = pa.schema([(name, _target(found.field(name), schema, path.name)) for name in others])
    rows, waiting = rows_before, iter(batches)
    while True:
        with reported(path):
            if (batch := next(waiting, None)) is None:
                return
            columns = [_converted(batch[field.name], field.type) for field in converted]
        for name, column in zip(others, columns, strict=True):
            _require_text(column, name, path.name, rows)
        table = pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(columns, schema=converted)))
        if images:
            yield from image_rows(
                *_image_files(batch[images[0]]), table, schema=schema, first=rows + 1, file=path.name, split=given_split
            )
        else:
            yield RawPart(table, dict.fromkeys(names, path.name), given_split)
        rows += batch.num_rows


def _require_bytes(field: pa.Field, file: str) -> None:
    found = field.type
    if types.is_struct(found) and found.get_field_index("bytes") >= 0:
        found = found.field("bytes").type
    if not (types.is_binary(found) or types.is_large_binary(found) or types.is_binary_view(found)):
        raise DataError(
            f"{file}: column {field.name!r}: expected the bytes of image files, or a struct of bytes and path, found "
            f"{field.type}"
        )


def _image_files(column: pa.Array) -> tuple[list[bytes | None], list[str | None] | None]:
    """Contents of image files, and the path of each where the column says it."""
    if not types.is_struct(column.type):
        return column.to_pylist(), None
    has_path = column.type.get_field_index("path") >= 0
    paths = pc.struct_field(column, "path").cast(pa.string()).to_pylist() if has_path else None
    return pc.struct_field(column, "bytes").to_pylist(), paths


def _target(field: pa.Field, schema: RowSchema, file: str) -> pa.DataType:
    """Type that a column is read as; raise DataError if the schema can't take what it has."""
    found = field.type.value_type if types.is_dictionary(field.type) else field.type
    feature, name = schema.columns.get(field.name), field.name
    if feature is not None and feature.is_list:
        return _list_target(field, file)
    formats = list(feature.date_formats) if feature else []
    formats += [schema.time.date_format] if schema.time and schema.time.column == name else []
    is_number = feature is not None and feature.is_number and not formats
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


def _list_target(field: pa.Field, file: str) -> pa.DataType:
    """Type that a column of lists is read as: as it is, or text."""
    found = field.type.value_type if types.is_dictionary(field.type) else field.type
    if _is_text(found) or types.is_null(found):
        return pa.large_string()
    is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
    if is_list and types.is_float16(found.value_type):
        return pa.large_list(pa.float32())  # Polars computes little with halves
    if is_list and (types.is_integer(found.value_type) or types.is_floating(found.value_type)):
        return found
    raise DataError(f"{file}: column {field.name!r}: expected lists of numbers, found {field.type}")


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
        return as_iso(column).cast(target)
    if types.is_floating(column.type):
        return _whole_or_as_is(column.cast(pa.float64()))
    return column.cast(target)


def longest_of_dictionary(column: pa.Array) -> int:
    """Bytes of the longest text, or bytes, of a column's dictionary; 0 for a column that has none of these."""
    if not types.is_dictionary(column.type):
        return 0
    values = column.type.value_type
    if not (_is_text(values) or types.is_binary(values) or types.is_large_binary(values)):
        return 0
    return longest_value(column.dictionary)


def longest_value(column: pa.Array) -> int:
    """Bytes of the longest text, or bytes, of a column."""
    sizes = pl.Series(pl.from_arrow(column)).cast(pl.Binary).bin.size()
    return int(sizes.cast(pl.Int64).max() or 0)  # type: ignore[arg-type]


def as_iso(column: pa.Array) -> pa.Array:
    """Moments as ISO 8601 has them in UTC, what is finer than a microsecond cut off.

    Others than of the years 1 to 9999 become words that are no moment: Arrow's calendar wraps around far outside.
    """
    in_range = is_in_range(column)
    utc = pc.if_else(in_range, column, pa.scalar(0, column.type)).cast(pa.timestamp("us", "UTC"), safe=False)
    words = pc.binary_join_element_wise(
        column.cast(pa.int64()).cast(pa.string()), f"{column.type.unit} since 1970", " "
    )
    return pc.if_else(in_range, pc.strftime(utc, "%Y-%m-%dT%H:%M:%SZ"), words)


def is_in_range(moments: pa.Array) -> pa.Array:
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
