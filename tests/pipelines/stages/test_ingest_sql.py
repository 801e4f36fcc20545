"""Rows of a query, from params.yaml to examples: what is checked, what is stale, what remains."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.examples import shards
from headrace.pipelines.commands.check import check
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.code_digests import write_digests
from headrace.pipelines.project.command_lines import dvc as run_dvc
from headrace.pipelines.run_overrides import is_open, leaves
from headrace.pipelines.stages.ingest import ingest

QUERY = "SELECT id, amount, ordered_at, status\nFROM orders\n"
BY_DAY = f"{QUERY}WHERE ordered_at >= :interval_start AND ordered_at < :interval_end;\n"
DAY = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
VARIABLE = "HEADRACE_CONNECTION_SHOP"
ROWS = [
    (1, 0.5, "2026-11-19 23:59:59", "paid"),
    (9007199254740993, 1.5, "2026-11-20 00:00:00", "open"),
    (9007199254740992, None, "2026-11-20 23:59:59", "paid"),
    (4, -2.5, "2026-11-21 00:00:00", "open"),
]


def configure(root: Path, repository: Path, *, query: str = QUERY, ingest: dict[str, Any] | None = None, **source: Any):
    """Write params.yaml with one pipeline, and its query."""
    (root / "queries").mkdir(exist_ok=True)
    (root / "queries" / "orders.sql").write_text(query)
    section = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]
    section |= {
        "ingest": {
            "source": {"kind": "sql", "query": "queries/orders.sql", "connection": "shop", **source},
            "key": ["id"],
            "features": {
                "amount": {"type": "number", "nullable": True},
                "ordered_at": {"type": "number", "date_format": "iso"},
            },
            "label": {"type": "category", "name": "status", "classes": ["paid", "open"]},
            **(ingest or {}),
        },
        "normalize": {
            "transforms": {
                "amount": [{"kind": "impute", "strategy": "median"}],
                "ordered_at": [{"kind": "standardize"}],
            }
        },
        "results": {},
    }
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["orders"], "orders": section}))


@pytest.fixture
def sqlite_shop(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose orders are in a SQLite file."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER, amount REAL, ordered_at TEXT, status TEXT)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", ROWS)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path / 'shop.db'}")
    configure(tmp_path, repository)
    return tmp_path


@pytest.fixture
def postgresql_shop(tmp_path: Path, repository: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose orders are in a PostgreSQL server."""
    pytest.importorskip("adbc_driver_postgresql", reason="needs the extra sql")
    import psycopg2

    with closing(psycopg2.connect(postgresql)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS orders")
        cursor.execute("CREATE TABLE orders (id int8, amount float8, ordered_at timestamptz, status text)")
        cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s::timestamp AT TIME ZONE 'UTC', %s)", ROWS)
    monkeypatch.setenv(VARIABLE, postgresql)
    configure(tmp_path, repository)
    return tmp_path


def ingested(root: Path) -> pl.DataFrame:
    paths = PipelinePaths(root, "orders")
    ingest(load_pipeline(root / "params.yaml", "orders"), paths)
    return shards.scan(paths.examples).collect().sort("ordered_at")


@pytest.mark.parametrize("shop", ["sqlite_shop", "postgresql_shop"])
def test_every_database_gives_the_same_examples(shop: str, repository: Path, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(shop)
    examples = ingested(root)
    assert examples["amount"].to_list() == [0.5, 1.5, None, -2.5]
    assert examples["example_id"].n_unique() == 4  # ids that a double would take for one
    again = "SELECT status, id, ordered_at, amount FROM orders ORDER BY id DESC"
    configure(root, repository, query=again)
    assert ingested(root).equals(examples)
    configure(root, repository, query=BY_DAY, interval=DAY)
    assert ingested(root)["amount"].to_list() == [1.5, None]


def test_ids_do_not_depend_on_the_database(sqlite_shop: Path, repository: Path, request: pytest.FixtureRequest) -> None:
    ids = ingested(sqlite_shop)["example_id"].to_list()
    assert ingested(request.getfixturevalue("postgresql_shop"))["example_id"].to_list() == ids


def test_values_that_are_none_are_rejected_by_row(postgresql_shop: Path, repository: Path) -> None:
    query = """
    SELECT 1 AS id, 'NaN'::float8 AS amount, timestamptz 'infinity' AS ordered_at, 'paid' AS status
    UNION ALL SELECT 2, 'Infinity', '2026-11-20Z', 'paid' UNION ALL SELECT 3, 1e308, '2026-11-20Z', NULL
    UNION ALL SELECT 4, 5, '-infinity', 'open' UNION ALL SELECT 5, 5, '2026-11-20 12:00+09', 'open'
    """
    configure(postgresql_shop, repository, query=query, ingest={"max_bad_fraction": 0.9})
    assert ingested(postgresql_shop).select("amount", "ordered_at").rows() == [(5.0, 20777 + 3 / 24)]
    rejected = pl.read_parquet(PipelinePaths(postgresql_shop, "orders").rejected).sort("row")
    assert rejected["row"].to_list() == [1, 2, 3, 4]
    configure(
        postgresql_shop, repository, query=query.replace("timestamptz 'inf", "date 'inf").replace(" 12:00+09", "")
    )
    with pytest.raises(DataError, match="ordered_at"):
        ingested(postgresql_shop)


def test_an_exact_number_keeps_its_digits_in_a_key(postgresql_shop: Path, repository: Path) -> None:
    query = "SELECT 12345678901234567890123 + n AS id, 1.5 AS amount, now() AS ordered_at, 'paid' AS status FROM "
    configure(postgresql_shop, repository, query=query + "generate_series(1, 3) n")
    assert ingested(postgresql_shop)["example_id"].n_unique() == 3


@pytest.mark.parametrize(
    ("query", "changes", "kind", "said"),
    [
        ("SELECT id, amount FROM orders", {}, DataError, r"rows.parquet: no column 'ordered_at'; found id, amount"),
        ("SELECT *, id FROM orders", {}, DataError, r"queries/orders.sql, batch 1: column 'id' is there 2 times"),
        ("SELECT * FROM orders WHERE id < 0", {}, DataError, r"queries/orders.sql gave no rows"),
        (BY_DAY, {}, ParamsError, r"queries/orders.sql: names :interval_start; set ingest.source.interval"),
        (
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT orders.* FROM orders, r",
            {"max_bytes": 10_000_000, "timeout_seconds": 1},
            ServiceError,
            "took more than 1 s",
        ),
        (
            "SELECT a.* FROM orders a, orders, orders, orders, orders, orders",
            {"max_bytes": 100_000},
            DataError,
            r"queries/orders.sql gave more than 100000 bytes of rows; ask for fewer, or set ingest.source.max_bytes",
        ),
    ],
)
def test_an_error_leaves_the_rows_of_the_last_run(sqlite_shop, repository, query, changes, kind, said) -> None:
    ingested(sqlite_shop)
    raw = PipelinePaths(sqlite_shop, "orders").raw
    before = (raw / "rows.parquet").read_bytes()
    configure(sqlite_shop, repository, query=query, **changes)
    with pytest.raises(kind, match=said):
        ingested(sqlite_shop)
    if "no column" not in said:
        assert (raw / "rows.parquet").read_bytes() == before
    assert [file.name for file in raw.iterdir()] == ["rows.parquet"]


def test_an_endless_result_is_ended(postgresql_shop: Path, repository: Path) -> None:
    query = f"SELECT o.*, generate_series(1, 1000000000) FROM ({QUERY}) o"
    configure(postgresql_shop, repository, query=query, max_bytes=20_000_000)
    with pytest.raises(DataError, match=r"queries/orders.sql gave more than 20000000 bytes of rows"):
        ingested(postgresql_shop)


def test_a_pin_refuses_other_rows(sqlite_shop: Path, repository: Path) -> None:
    configure(sqlite_shop, repository, query=f"{QUERY} ORDER BY id")
    ingested(sqlite_shop)
    [file] = json.loads(PipelinePaths(sqlite_shop, "orders").ingest_metrics.read_text())["files"]
    configure(sqlite_shop, repository, query=f"{QUERY} ORDER BY id", sha256=file["sha256"])
    ingested(sqlite_shop)
    configure(sqlite_shop, repository, query=f"{QUERY} ORDER BY -id", sha256=file["sha256"])
    with pytest.raises(DataError, match=f"expected {file['sha256']}, found .*ORDER BY that leaves no order open"):
        ingested(sqlite_shop)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"source": {"query": "queries/none.sql"}},
            "orders.ingest.source: queries/none.sql: no such file in the project",
        ),
        ({"source": {"query": "/etc/passwd"}}, "expected the path of a .sql file inside the project"),
        ({"source": {"connection": "postgresql://ann:S3CRET@h/d"}}, "connection"),
        ({"source": {"interval": DAY}}, "names neither :interval_start nor :interval_end"),
        ({"query": "SELECT 1; SELECT 2"}, "queries/orders.sql:1: expected one SELECT, found a second statement"),
    ],
)
def test_a_mistake_is_found_when_params_yaml_is_read(sqlite_shop, repository, changes, said) -> None:
    configure(sqlite_shop, repository, query=changes.get("query", QUERY))
    content = yaml.safe_load((sqlite_shop / "params.yaml").read_text())
    content["orders"]["ingest"]["source"] |= changes.get("source", {})
    (sqlite_shop / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=said) as raised:
        load_pipeline(sqlite_shop / "params.yaml", "orders")
    assert "S3CRET" not in str(raised.value)


def test_a_connection_without_an_address_is_a_mistake(sqlite_shop, monkeypatch, capsys) -> None:
    monkeypatch.chdir(sqlite_shop)
    check("orders")
    assert "source: queries/orders.sql" in capsys.readouterr().out
    monkeypatch.delenv(VARIABLE)
    for run in (ingested, lambda root: check("orders")):
        with pytest.raises(ParamsError, match=rf"^{VARIABLE} is not set: it has the address of the database"):
            run(sqlite_shop)


def test_only_a_query_that_names_its_bounds_is_by_interval(sqlite_shop: Path, repository: Path) -> None:
    for query, expected in ((QUERY, False), (BY_DAY, True), (f"{QUERY} -- :interval_start", False)):
        configure(sqlite_shop, repository, query=query)
        source = load_pipeline(sqlite_shop / "params.yaml", "orders").ingest.source
        assert source.is_by_interval(sqlite_shop) is expected


def test_no_run_can_choose_a_query_or_a_database(sqlite_shop: Path, repository: Path) -> None:
    configure(sqlite_shop, repository, query=BY_DAY, interval=DAY)
    below = [leaf for leaf in leaves(load_pipeline(sqlite_shop / "params.yaml", "orders")) if "source" in leaf.place]
    assert {"ingest.source.query", "ingest.source.connection"} <= {leaf.place for leaf in below}
    assert not any(is_open(leaf) for leaf in below)


def test_a_changed_query_makes_ingest_stale(sqlite_shop: Path, repository: Path) -> None:
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    (sqlite_shop / "headrace.lock").write_text((repository / "headrace.lock").read_text())
    kept = {"own_code": stages["own_code"], "ingest": stages["ingest"]}
    (sqlite_shop / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    ingested(sqlite_shop)
    write_digests(ProjectPaths(sqlite_shop))
    run_dvc(sqlite_shop, "init", "--no-scm", "--quiet")
    run_dvc(sqlite_shop, "commit", "--force", "--quiet")
    assert dvc.status(sqlite_shop) == {}
    (sqlite_shop / "queries" / "orders.sql").write_text(f"{QUERY}-- changed\n")
    assert list(dvc.status(sqlite_shop)) == ["ingest@orders"]
    digests = json.loads((sqlite_shop / ".headrace" / "code.json").read_text())
    assert list(digests["orders"]["ingest"]) == ["queries/orders.sql"]
    assert "shop.db" not in (sqlite_shop / "dvc.lock").read_text() + json.dumps(digests)  # the address is nowhere


def test_the_example_of_the_page_runs(sqlite_shop: Path, repository: Path) -> None:
    page = (repository / "docs" / "your-data.md").read_text().partition("## Rows of a database")[2]
    section, query = (page.partition(f"```{language}\n")[2].partition("```")[0] for language in ("yaml", "sql"))
    configure(sqlite_shop, repository, query=query)
    content = yaml.safe_load((sqlite_shop / "params.yaml").read_text())
    content["orders"]["ingest"] = {**yaml.safe_load(section)["ingest"], "max_bad_fraction": 0.5}
    content["orders"]["normalize"] = {"transforms": {"amount": [{"kind": "standardize"}]}}
    (sqlite_shop / "params.yaml").write_text(yaml.safe_dump(content))
    paths = PipelinePaths(sqlite_shop, "orders")
    ingest(load_pipeline(sqlite_shop / "params.yaml", "orders"), paths)
    assert shards.scan(paths.examples).collect()["amount"].to_list() == [1.5]
