"""Rows of a PostgreSQL database, through ADBC's driver: one stream of Arrow batches, of one snapshot.

The driver asks for `COPY (query) TO STDOUT` in binary, which the server sends while it runs the query: neither side
holds the result, so a large table needs no ranges. COPY takes no parameters. The interval's bounds are bound as
settings of the transaction, and the query reads them by `current_setting`, which an index serves as it does a constant.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from pyarrow import types

from headrace.components.errors import ParamsError, ServiceError, UserError
from headrace.components.sources.sql.address import PostgresqlAddress, variable_of
from headrace.components.sources.sql.query import Query

if TYPE_CHECKING:
    from adbc_driver_manager import Error
    from adbc_driver_manager.dbapi import Connection

_TYPE = b"POSTGRESQL:type"
_COPY = "COPY ("
# What libpq says, which has no code, where another attempt can't help.
_MISTAKES = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "SSL was required",
    "certificate verify failed",
    "invalid sslmode",
    "invalid URI",
    "invalid integer value",
)
_PASSING = ("08", "40", "53", "57", "58", "55P03")  # connection, conflict, resources, operator, system, lock


def postgresql_tables(
    address: PostgresqlAddress, query: Query, values: Mapping[str, datetime], *, timeout_seconds: float, name: str
) -> Iterator[pa.Table]:
    """Yield the rows of a query, about 16 MiB at a time; bounds are `timestamptz`, and the time zone is UTC.

    Raises ParamsError for an address, a query and a type that can't be, and ServiceError for a server that can't be
    reached, that is lost, or that takes too long.
    """
    try:
        import adbc_driver_manager
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise ParamsError(
            "kind: sql reads PostgreSQL by a driver that is not installed: pip install 'headrace[sql]'"
        ) from error
    statement = query.with_parameters({key: _setting(key) for key in values})
    try:
        connection = dbapi.connect(address.url)
    except adbc_driver_manager.Error as error:  # its chain may quote the address
        raise _not_connected(address.hide(str(error)), name) from None
    with suppress(adbc_driver_manager.Error), closing(connection):  # to close what is lost is an error as well
        try:
            cursor = connection.cursor()
            _begin(cursor, values, timeout_seconds)
            cursor.execute(statement)
            reader = cursor.fetch_record_batch()
            kinds = [(field.metadata or {}).get(_TYPE, b"").decode() for field in reader.schema]
            _require_readable(reader.schema, kinds, query.file)
            while (batch := next(reader, None)) is not None:
                yield _plain(batch)
        except GeneratorExit:
            cursor.adbc_cancel()  # else all the rest is waited for
            raise
        except adbc_driver_manager.Error as error:
            if error.sqlstate is None:
                raise _ended(" ".join(str(error).split()), connection, query, name) from error
            raise _refused(error, statement, query, name) from error
        except (pa.ArrowException, OSError) as error:  # while rows are read, there is no code
            raise _ended(" ".join(str(error).split()), connection, query, name) from error


def _begin(cursor: Any, values: Mapping[str, datetime], timeout_seconds: float) -> None:
    """Make the transaction read one snapshot and nothing else; its first query takes the snapshot."""
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    cursor.execute("SET LOCAL TimeZone = 'UTC'")
    cursor.execute(f"SET LOCAL statement_timeout = {max(1, round(1000 * timeout_seconds))}")
    cursor.execute("SELECT set_config('headrace.reads', 'rows', true)")
    for key, value in values.items():
        cursor.execute(f"SELECT set_config('headrace.{key}', $1, true)", (value.astimezone(UTC).isoformat(),))
    cursor.fetchall()


def _setting(key: str) -> str:
    return f"(current_setting('headrace.{key}')::timestamptz)"


def _require_readable(schema: pa.Schema, kinds: list[str], file: str) -> None:
    """Raise ParamsError for a type that would come as something else, such as amounts of money as cents."""
    if not len(schema):
        raise ParamsError(f"{file}: expected one SELECT, found a statement that gives no columns")
    for field, kind in zip(schema, kinds, strict=True):
        storage = getattr(field.type, "storage_type", field.type)
        is_opaque = isinstance(field.type, pa.OpaqueType) and not types.is_string(storage)
        if is_opaque or kind in ("money", "record", "interval"):
            to = "numeric" if kind == "money" else "text"
            raise ParamsError(
                f"{file}: column {field.name!r} is of PostgreSQL's type {kind}, which no column of a table file has; "
                f"write CAST({field.name} AS {to})"
            )


def _plain(batch: pa.RecordBatch) -> pa.Table:
    """Numerics and JSON as their text, UUIDs in their usual form."""
    columns = [_text(column) if isinstance(column, pa.ExtensionArray) else column for column in batch.columns]
    return pa.Table.from_arrays(columns, names=batch.schema.names)


def _text(column: pa.ExtensionArray) -> pa.Array:
    if not isinstance(column.type, pa.UuidType):
        return column.storage
    digits = pl.Series(pl.from_arrow(column.storage.cast(pa.binary()))).bin.encode("hex")
    bounds = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    return (
        pl.select(pl.concat_str([digits.str.slice(*bound) for bound in bounds], separator="-")).to_series().to_arrow()
    )


def _not_connected(reason: str, name: str) -> UserError:
    reason = reason.rpartition("Failed to connect: ")[2].partition(" Is the server running")[0]
    if any(words in reason for words in _MISTAKES):
        return ParamsError(f"{variable_of(name)}: {reason}; fix the address that it holds")
    return ServiceError(f"connection {name}: {reason}")


def _refused(error: "Error", statement: str, query: Query, name: str) -> UserError:
    """What PostgreSQL says with a code: of the query, by its line, or of itself."""
    details = {_decoded(key): _decoded(value) for key, value in error.details}
    reason = details.get("PG_DIAG_MESSAGE_PRIMARY") or " ".join(str(error).split())
    state = error.sqlstate or ""
    if state == "57014":
        return _too_long(query)
    if state.startswith(_PASSING):
        return ServiceError(f"connection {name}: {reason}")
    if state == "25006":
        return ParamsError(f"{query.file}: expected one SELECT: {reason}")
    position = int(details.get("PG_DIAG_STATEMENT_POSITION", "0"))
    if "could not begin COPY" in str(error):
        position -= len(_COPY)
    line = statement[: position - 1].count("\n") + 1 if position > 0 else None
    return ParamsError(f"{query.at_line(line)}: {reason}")


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _ended(reason: str, connection: "Connection", query: Query, name: str) -> UserError:
    """What ended the stream of rows: an error of the query if the server still answers."""
    import adbc_driver_manager

    try:
        connection.rollback()
    except adbc_driver_manager.Error:
        return ServiceError(f"connection {name} was lost while rows of {query.file} were read: {reason}")
    if "statement timeout" in reason:
        return _too_long(query)
    if "canceling statement" in reason or "terminating" in reason:
        return ServiceError(f"connection {name}: {reason}")
    return ParamsError(f"{query.file}: {reason}")


def _too_long(query: Query) -> ServiceError:
    return ServiceError(f"{query.file} took longer than it may, or was cancelled; see ingest.source.timeout_seconds")
