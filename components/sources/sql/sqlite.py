"""Rows of a SQLite file, by the library of Python itself.

A column of SQLite holds values of any type, so a first pass over the query's rows finds which ones each column has.
(The ADBC driver takes the types of the first rows, and fails where a later row has another.)
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from headrace.components.errors import DataError, ParamsError, ServiceError, UserError
from headrace.components.sources.sql.address import variable_of
from headrace.components.sources.sql.query import Query

_ROWS = 1 << 13
_BLOCK_BYTES = 1 << 26
_TERMS = 50  # SQLite takes no deeper expression than 1,000
_BUSY_SECONDS = 30.0
_STEPS = 10_000  # of SQLite's machine, between two checks of the clock
_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_BUSY = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
)
_TYPES = {
    frozenset(): pa.large_string(),
    frozenset(["integer"]): pa.int64(),
    frozenset(["real"]): pa.float64(),
    frozenset(["integer", "real"]): pa.float64(),
    frozenset(["text"]): pa.large_string(),
    frozenset(["blob"]): pa.large_binary(),
}


def sqlite_tables(
    file: Path, query: Query, values: Mapping[str, datetime], *, timeout_seconds: float, name: str
) -> Iterator[pa.Table]:
    """Yield the rows of a query, at most 8,192 at a time, from one snapshot; bounds are text as `datetime()` writes it.

    Raises ParamsError for no file and for a query that SQLite refuses, DataError for a damaged file and for a column of
    several types, ServiceError for a locked file and a query that takes too long.
    """
    if not file.is_file():
        raise ParamsError(f"{variable_of(name)}: no SQLite file {file}")
    bounds = {key: value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") for key, value in values.items()}
    end = time.monotonic() + timeout_seconds
    try:
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        with closing(connection):
            connection.execute("BEGIN")  # what another writes from now on is not seen
            connection.set_authorizer(_only_reads)
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            yield from _tables(connection, query, bounds)
    except sqlite3.Error as error:
        raise _reported(error, file, query, timeout_seconds) from error
    except UnicodeDecodeError as error:  # names in a damaged file
        raise DataError(f"{file} is a damaged SQLite file: a name in it is not UTF-8") from error


def _only_reads(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection, query: Query, bounds: Mapping[str, str]) -> Iterator[pa.Table]:
    statement = query.with_parameters({})
    rows = connection.execute(statement, bounds)
    names = [column[0] for column in rows.description or ()]
    types, row_bytes = _types(connection, statement, bounds, names, file=query.file)
    while found := rows.fetchmany(max(1, min(_ROWS, _BLOCK_BYTES // row_bytes))):
        columns = [
            _array(values, type_, f"{query.file}: column {name!r}")
            for values, type_, name in zip(zip(*found, strict=True), types, names, strict=True)
        ]
        yield pa.Table.from_arrays(columns, names=names)


def _types(
    connection: sqlite3.Connection, statement: str, bounds: Mapping[str, str], names: Sequence[str], *, file: str
) -> tuple[list[pa.DataType], int]:
    """Type of each column, and the bytes of the longest row as texts and blobs, at least 1."""
    places = ", ".join(f"c{number}" for number in range(len(names)))
    kinds = ", ".join(f"group_concat(DISTINCT typeof(c{number}))" for number in range(len(names)))
    each = [f"coalesce(length(CAST(c{number} AS BLOB)), 0)" for number in range(len(names))]
    sums = [f"({' + '.join(each[start : start + _TERMS])})" for start in range(0, len(each), _TERMS)]
    [row] = connection.execute(
        f"WITH q({places}) AS (\n{statement})\nSELECT {kinds}, max({' + '.join(sums)}) FROM q", bounds
    )
    found = [frozenset((kinds or "null").split(",")) - {"null"} for kinds in row[:-1]]
    for name, kinds_found in zip(names, found, strict=True):
        if kinds_found not in _TYPES:
            raise DataError(
                f"{file}: column {name!r} has values of several types, {' and '.join(sorted(kinds_found))}; CAST it in "
                "the query"
            )
    return [_TYPES[one] for one in found], max(1, row[-1] or 0)


def _array(values: Sequence[object], type_: pa.DataType, place: str) -> pa.Array:
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{place}: expected {type_}, found others ({reason}); CAST it in the query") from error


def _reported(error: sqlite3.Error, file: Path, query: Query, timeout_seconds: float) -> UserError:
    text = " ".join(str(error).split())
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_INTERRUPT:
            return ServiceError(f"{query.file} took more than {timeout_seconds:g} s; set ingest.source.timeout_seconds")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return DataError(f"{file} is a damaged SQLite file, or none ({text})")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return ParamsError(f"can't open {file} ({text}); check its permissions, and those of its folder")
        case sqlite3.SQLITE_AUTH | sqlite3.SQLITE_READONLY:
            return ParamsError(f"{query.file}: expected one SELECT; this would change the database or its settings")
        case code if code in _BUSY:
            return ServiceError(f"can't read {file} ({text})")
    kind = DataError if text.startswith("Could not decode to UTF-8") else ParamsError
    return kind(f"{query.at_line(_line(text, query.text))}: {text}")


def _line(message: str, text: str) -> int | None:
    """Line of the word that SQLite complains of, where that word is there once."""
    near = re.search(r'near "(.+)": ', message) or re.search(r"no such (?:column|table|function): (\S+)", message)
    places = [found.start() for found in re.finditer(re.escape(near[1]), text)] if near else []
    return text.count("\n", 0, places[0]) + 1 if len(places) == 1 else None
