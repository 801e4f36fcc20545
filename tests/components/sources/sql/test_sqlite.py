"""Rows of a SQLite file: their types, one snapshot, and nothing but reading."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.sources.sql.query import Query
from headrace.components.sources.sql.sqlite import sqlite_tables


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., pa.Table]:
    """Rows of a query of a file that has a table t."""
    file = tmp_path / "rows.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE t (n INTEGER, x REAL, word TEXT, at TEXT)")
        rows = [(n, None if n < 20_000 else 0.5, f"é{n}", f"2026-11-2{n % 3} 00:00:00") for n in range(20_001)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)

    def run(text: str, *, path: Path = file, timeout_seconds: float = 60.0, **values: datetime) -> pa.Table:
        (tmp_path / "q.sql").write_text(text, encoding="utf-8")
        query = Query.read(tmp_path, "q.sql")
        tables = list(sqlite_tables(path, query, values, timeout_seconds=timeout_seconds, name="crm"))
        assert all(len(table) <= 1 << 13 for table in tables)
        return pa.concat_tables(tables)

    return run


def test_a_column_has_the_type_of_all_its_values_and_not_of_the_first(read) -> None:
    table = read("SELECT n, x, word, NULL AS gone, x'00ff' AS bytes, iif(n < 9000, 1, 0.5) AS mixed FROM t ORDER BY n")
    assert table.schema.types == [
        pa.int64(),
        pa.float64(),
        pa.large_string(),
        pa.large_string(),
        pa.large_binary(),
        pa.float64(),
    ]
    last = {"n": 20_000, "x": 0.5, "word": "é20000", "gone": None, "bytes": b"\0\xff", "mixed": 0.5}
    assert table.slice(20_000).to_pylist() == [last]


def test_whole_numbers_keep_their_digits(read) -> None:
    table = read("SELECT 9007199254740993 AS n, -9223372036854775808 AS least")
    assert table.to_pylist() == [{"n": 9007199254740993, "least": -(2**63)}]
    with pytest.raises(DataError, match=r"q.sql: column 'n': expected double, found others .*9007199254740993"):
        read("SELECT 9007199254740993 AS n UNION ALL SELECT 0.5")


def test_bounds_are_bound_in_utc(read) -> None:
    start, end = datetime.fromisoformat("2026-11-21T09:00:00+09:00"), datetime(2026, 11, 22, tzinfo=UTC)
    table = read("SELECT DISTINCT at FROM t WHERE at >= :interval_start AND at < :interval_end", interval_start=start,
                 interval_end=end)  # fmt: skip
    assert table.to_pylist() == [{"at": "2026-11-21 00:00:00"}]


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM t",
        "DELETE FROM t RETURNING n",
        "WITH a AS (SELECT 1) UPDATE t SET n = 0",
        "DROP TABLE t",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA query_only = 0",
        "VACUUM INTO 'copy.db'",
        "COMMIT",
    ],
)
def test_nothing_but_a_select_runs(read, tmp_path: Path, text: str) -> None:
    before = (tmp_path / "rows.db").read_bytes()
    with pytest.raises(ParamsError, match=r"q.sql: expected one SELECT|cannot VACUUM"):
        read(text)
    assert (tmp_path / "rows.db").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"rows.db", "q.sql"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT n\nFORM t", r"^q.sql: near \"t\": syntax error|^q.sql:2: "),
        ("SELECT 1,\n  nope\nFROM t", r"^q.sql:2: no such column: nope"),
        ("SELECT 1 FROM nowhere", r"^q.sql:1: no such table: nowhere"),
        ("SELECT n FROM t WHERE n = :other", r"q.sql: You did not supply a value for binding :other|parameter :other"),
        ("SELECT n FROM t WHERE n = ?", r"^q.sql: "),
    ],
)
def test_a_mistake_in_the_query_is_one_line(read, text: str, said: str) -> None:
    with pytest.raises(ParamsError, match=said) as raised:
        read(text)
    assert "\n" not in str(raised.value)


def test_values_of_several_types_are_refused_by_their_column(read) -> None:
    with pytest.raises(DataError, match=r"q.sql: column 'y' has values of several types, integer and text; CAST it"):
        read("SELECT n AS y FROM t UNION ALL SELECT 'many'")
    with pytest.raises(DataError, match=r"q.sql: Could not decode to UTF-8"):
        read("SELECT CAST(x'ff' AS TEXT) AS word")


def test_long_values_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    sqlite3.connect(file).close()
    (tmp_path / "q.sql").write_text(
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9) "
        "SELECT zeroblob(n % 2 * 20000000) AS b FROM r"
    )
    tables = sqlite_tables(file, Query.read(tmp_path, "q.sql"), {}, timeout_seconds=60, name="crm")
    assert [len(table) for table in tables] == [3, 3, 3]


def test_wide_rows_are_read(read) -> None:
    names = [f"c{number}" for number in range(1500)]
    table = read(f"SELECT {', '.join(f'1 AS {name}' for name in names)}")
    assert table.column_names == names


def test_a_file_whose_names_are_no_text_is_damaged(read, tmp_path: Path) -> None:
    content = (tmp_path / "rows.db").read_bytes()
    (tmp_path / "damaged.db").write_bytes(content.replace(b"n INTEGER", b"\xff INTEGER"))
    with pytest.raises(DataError, match=r"damaged.db is a damaged SQLite file"):
        read("SELECT * FROM t", path=tmp_path / "damaged.db")


def test_a_query_without_end_is_ended(read) -> None:
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r"
    with pytest.raises(ServiceError, match=r"q.sql took more than 0.2 s; set ingest.source.timeout_seconds"):
        read(endless, timeout_seconds=0.2)


def test_a_file_that_is_none_is_named(read, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"HEADRACE_CONNECTION_CRM: no SQLite file .*none.db"):
        read("SELECT 1", path=tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database, but some text that is long enough " * 9)
    with pytest.raises(DataError, match=r"text.db is a damaged SQLite file, or none \(file is not a database\)"):
        read("SELECT 1 FROM t", path=tmp_path / "text.db")


def test_another_writer_is_not_seen(tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (n)")
        writer.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(10_000)])
        writer.commit()
        (tmp_path / "q.sql").write_text("SELECT n FROM t")
        tables: Any = sqlite_tables(file, Query.read(tmp_path, "q.sql"), {}, timeout_seconds=9, name="crm")
        first = next(tables)
        writer.execute("DELETE FROM t")
        writer.commit()
        assert len(first) + sum(map(len, tables)) == 10_000
