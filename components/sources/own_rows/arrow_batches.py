"""What a function of the project's own gives, as Arrow tables of one schema."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import types

from headrace.components.errors import DataError, ParamsError

_BATCHES = "pyarrow.RecordBatch, pyarrow.Table or polars.DataFrame"


@contextmanager
def tables_of(call: Callable[[], Any], *, place: str) -> Iterator[Iterator[pa.Table]]:
    """Make the call, and yield its batches as tables; a generator that is not read to its end is closed.

    Raises ParamsError for something else than batches, and DataError for two that differ in their columns or types.
    """
    found = call()
    if isinstance(found, pa.RecordBatch | pa.Table | pl.DataFrame):
        found = [found]
    if not isinstance(found, Iterator | list | tuple):
        raise ParamsError(f"{place} returned {_kind(found)}, expected a generator of {_BATCHES}")
    try:
        yield _of_one_schema(found, place=place)
    finally:
        if close := getattr(found, "close", None):
            close()


def _of_one_schema(batches: Iterable[Any], *, place: str) -> Iterator[pa.Table]:
    schema = None
    for number, batch in enumerate(batches, start=1):
        table = _plain(_table(batch, place=f"{place}, batch {number}"))
        if schema is None:
            schema = table.schema
            _require_different_names(schema, place=place)
        elif table.schema != schema:
            _require_equal(table.schema, schema, place=f"{place}, batch {number}")
            table = table.select(schema.names)
        yield table


def _table(batch: Any, *, place: str) -> pa.Table:
    match batch:
        case pa.Table():
            return batch
        case pa.RecordBatch():
            return pa.Table.from_batches([batch])
        case pl.DataFrame():
            return batch.to_arrow()
    raise ParamsError(f"{place}: expected a {_BATCHES}, found {_kind(batch)}")


def _plain(table: pa.Table) -> pa.Table:
    """The table with the same values in the same types, however they were held: text of Arrow is text of Polars."""
    schema = pa.schema([pa.field(field.name, _plain_type(field.type)) for field in table.schema])
    return pa.Table.from_arrays(
        [column.cast(field.type) for column, field in zip(table.columns, schema, strict=True)], schema=schema
    )


def _plain_type(found: pa.DataType) -> pa.DataType:
    if types.is_dictionary(found):
        return _plain_type(found.value_type)
    if types.is_string(found) or types.is_string_view(found):
        return pa.large_string()
    return pa.large_binary() if types.is_binary(found) or types.is_binary_view(found) else found


def _require_different_names(schema: pa.Schema, *, place: str) -> None:
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise DataError(
                f"{place}, batch 1: column {name!r} is there {schema.names.count(name)} times; expected once"
            )


def _require_equal(found: pa.Schema, expected: pa.Schema, *, place: str) -> None:
    """Raise DataError for the first column that is missing, that is more, or that has another type."""
    _require_different_names(found, place=place)
    for name in dict.fromkeys([*expected.names, *found.names]):
        types_ = [str(one.field(name).type) if name in one.names else "no such column" for one in (expected, found)]
        if types_[0] != types_[1]:
            raise DataError(
                f"{place}: column {name!r}: expected {types_[0]}, as in the first batch, found {types_[1]}; give all "
                "batches one schema"
            )


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
