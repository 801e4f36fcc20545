"""Rows of a real PostgreSQL server: types, one snapshot, nothing but reading, and what is said when it ends badly."""

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.sources.sql.address import PostgresqlAddress, parsed_address
from headrace.components.sources.sql.postgresql import postgresql_tables
from headrace.components.sources.sql.query import Query

pytest.importorskip("adbc_driver_postgresql", reason="needs the extra sql")


@pytest.fixture
def database(postgresql: str) -> Iterator[Any]:
    """A connection that writes, in a server with an empty table t."""
    with closing(psycopg2.connect(postgresql)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (id int8 PRIMARY KEY, at timestamptz, word text)")
        cursor.execute(
            "INSERT INTO t SELECT n, timestamptz '2026-11-20 00:00Z' + n * interval '1 minute', 'w' || n "
            "FROM generate_series(0, 4319) n"
        )
        yield cursor


@pytest.fixture
def tables(postgresql: str, tmp_path: Path) -> Callable[..., Iterator[pa.Table]]:
    def run(text: str, *, address: str = postgresql, timeout_seconds: float = 60.0, **values: datetime) -> Any:
        (tmp_path / "q.sql").write_text(text, encoding="utf-8")
        place = parsed_address(address, connection="crm", root=tmp_path)
        assert isinstance(place, PostgresqlAddress)
        query = Query.read(tmp_path, "q.sql")
        return postgresql_tables(place, query, values, timeout_seconds=timeout_seconds, name="crm")

    return run


def test_values_keep_their_meaning(tables) -> None:
    [table] = tables(
        "SELECT 9007199254740993 AS big, 12345678901234567890.123 AS exact, 'NaN'::float8 AS nan, '-Infinity'::float4 "
        "AS low, timestamptz '2026-11-20 09:00+09' AS at, date '2026-11-20' AS day, true AS yes, NULL AS nothing, "
        "'é' AS word, '6a2f41a3-c54c-fce8-32d2-0324e1c32e22'::uuid AS id, '{\"a\": 1}'::jsonb AS note, "
        "'\\x00ff'::bytea AS bytes -- the end"
    )
    [row] = table.to_pylist()
    assert str(row.pop("nan")) == "nan"
    assert row == {
        "big": 9007199254740993,
        "exact": "12345678901234567890.123",
        "low": float("-inf"),
        "at": datetime(2026, 11, 20, tzinfo=UTC),
        "day": date(2026, 11, 20),
        "yes": True,
        "nothing": None,
        "word": "é",
        "id": str(uuid.UUID("6a2f41a3-c54c-fce8-32d2-0324e1c32e22")),
        "note": '{"a": 1}',
        "bytes": b"\0\xff",
    }


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("12.5::money", "money, .* write CAST\\(x AS numeric\\)"),
        ("interval '1 day'", "interval, .* write CAST\\(x AS text\\)"),
        ("point(1, 2)", "point"),
        ("'10.0.0.1'::inet", "inet"),
        ("row(1, 2)", "record"),
    ],
)
def test_a_type_of_no_table_file_is_refused(tables, expression: str, said: str) -> None:
    with pytest.raises(ParamsError, match=f"^q.sql: column 'x' is of PostgreSQL's type {said}"):
        list(tables(f"SELECT {expression} AS x"))


def test_bounds_are_bound_and_an_index_serves_them(tables, database) -> None:
    database.execute("CREATE INDEX ON t (at)")
    bounds = {
        "interval_start": datetime.fromisoformat("2026-11-21T09:00+09:00"),
        "interval_end": datetime(2026, 11, 22, tzinfo=UTC),
    }
    [table] = tables("SELECT id FROM t WHERE at >= :interval_start AND at < :interval_end ORDER BY id", **bounds)
    assert table["id"].to_pylist() == list(range(1440, 2880))
    database.execute(
        "SET enable_seqscan = off; SELECT set_config('headrace.interval_start', '2026-11-21Z', false); "
        "EXPLAIN SELECT id FROM t WHERE at >= (current_setting('headrace.interval_start')::timestamptz)"
    )
    assert "Index Cond" in str(database.fetchall())


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM t",
        "DELETE FROM t RETURNING id",
        "WITH gone AS (DELETE FROM t RETURNING id) SELECT * FROM gone",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "TRUNCATE t",
        "CREATE TABLE u AS SELECT 1 AS x",
        "SET TRANSACTION READ WRITE",
        "COPY t TO '/tmp/t'",
        "COPY t TO STDOUT",
        "SELECT 1) TO PROGRAM 'touch /tmp/t' --",
        "COMMIT",
        "EXPLAIN SELECT 1",
        "DO $$ BEGIN DELETE FROM t; END $$",
    ],
)
def test_nothing_but_reading_is_done(tables, database, text: str) -> None:
    with pytest.raises(ParamsError, match=r"^q.sql"):
        list(tables(text))
    database.execute("SELECT count(*), (SELECT count(*) FROM pg_class WHERE relname = 'u') FROM t")
    assert database.fetchall() == [(4320, 0)]


def test_what_others_write_meanwhile_is_not_seen(tables, database) -> None:
    database.execute("INSERT INTO t SELECT n, now(), repeat('x', 2000) FROM generate_series(10000, 29999) n")
    found = tables("SELECT id, word FROM t")
    first = next(found)
    assert len(first) < 24_320  # else all rows are here already
    database.execute("DELETE FROM t")
    assert len(first) + sum(map(len, found)) == 24_320


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT id\nFORM t", r'^q.sql:2: syntax error at or near "t"'),
        ("SELECT id,\n\n nope FROM t", r'^q.sql:3: column "nope" does not exist'),
        ("SELECT 1 FROM nowhere", r'^q.sql:1: relation "nowhere" does not exist'),
        ("SELECT 1 / 0 AS x", r"^q.sql: division by zero"),
        ("SELECT 1 / (4000 - id) AS x FROM t ORDER BY id", r"^q.sql: .*division by zero"),
        ("SELECT :other", r'^q.sql:1: syntax error at or near ":"'),
        ("SELECT id FROM t WHERE id = $1", r"^q.sql"),
    ],
)
def test_a_mistake_in_the_query_is_one_line(tables, database, text: str, said: str) -> None:
    with pytest.raises(ParamsError, match=said) as raised:
        list(tables(text))
    assert "\n" not in str(raised.value)


def test_a_query_that_takes_too_long_is_ended(tables) -> None:
    for text in ("SELECT pg_sleep(9)::text AS x", "SELECT n FROM generate_series(1, 1000000000) n ORDER BY -n"):
        with pytest.raises(ServiceError, match=r"^q.sql took longer than it may"):
            list(tables(text, timeout_seconds=0.3))


def test_a_server_that_ends_the_session_midway_is_worth_another_attempt(tables, database) -> None:
    found = tables("SELECT n, repeat('x', 1000) AS word FROM generate_series(1, 1000000) n")
    next(found)
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace'")
    with pytest.raises(ServiceError, match=r"^connection crm was lost while rows of q.sql were read: "):
        list(found)


def test_a_reader_that_stops_early_leaves_no_session(tables, database) -> None:
    found = tables("SELECT generate_series(1, 1000000000) AS n, repeat('x', 1000) AS word")
    next(found)
    found.close()
    for _ in range(100):
        database.execute("SELECT pg_sleep(0.05), count(*) FROM pg_stat_activity WHERE application_name = 'headrace'")
        if database.fetchall()[0][1] == 0:
            return
    pytest.fail("the session is still there")


def test_a_server_that_can_not_be_reached_is_worth_another_attempt_and_a_wrong_address_is_not(
    tables, postgresql
) -> None:
    away = "postgresql://ann:S3CRET@127.0.0.1:1/crm"
    wrong = postgresql.replace("tests%20only", "S3CRET")
    nowhere = postgresql.replace("/postgres?", "/S3CRETDB?")
    for address, kind, said in (
        (away, ServiceError, r"^connection crm: .*Connection refused"),
        (
            wrong,
            ParamsError,
            r"^HEADRACE_CONNECTION_CRM: .*password authentication failed for user .*; fix the address",
        ),
        (nowhere, ParamsError, r'^HEADRACE_CONNECTION_CRM: .*database "S3CRETDB" does not exist'),
    ):
        with pytest.raises(kind, match=said) as raised:
            next(tables("SELECT 1 AS x", address=address))
        assert "S3CRET" not in str(raised.value).replace("S3CRETDB", "")
        assert "\n" not in str(raised.value)
        assert raised.value.__suppress_context__


def test_a_driver_that_is_not_installed_is_named(tables, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(ParamsError, match=r"a driver that is not installed: pip install 'headrace\[sql\]'"):
        next(tables("SELECT 1 AS x", address="postgresql://h/d"))
