"""Delta Lake and Iceberg tables, from params.yaml to examples: which version is read, and what is refused."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.examples import shards
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("size", pa.float64()),
        ("price", pa.decimal128(20, 2)),
        ("at", pa.timestamp("us", "UTC")),
        ("kind", pa.string()),
    ]
)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = [(9007199254740993, 0.5, Decimal("1.10"), NOON, "big"), (9007199254740992, None, None, NOON, "small")]
SECOND = [(3, 2.5, Decimal("123456789012345678.05"), NOON, "big")]
SETTINGS = {
    "key": ["id"],
    "features": {
        "size": {"type": "number", "nullable": True},
        "price": {"type": "number", "nullable": True},
        "at": {"type": "number", "date_format": "iso"},
    },
    "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
}


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


@pytest.fixture
def ingested(tmp_path: Path, repository: Path) -> Callable[..., tuple[pl.DataFrame, dict[str, Any]]]:
    """Examples of a source by size, and the record of its file."""
    titanic = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]

    def run(**source: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
        section = {**SETTINGS, "source": source}
        transforms = {name: [{"kind": "impute", "strategy": "median"}] for name in ("size", "price")}
        transforms["at"] = [{"kind": "standardize"}]
        pipeline = {
            **titanic,
            "name": "rows",
            "ingest": section,
            "normalize": {"transforms": transforms},
            "results": {},
        }
        paths = PipelinePaths(tmp_path, "rows")
        ingest(Pipeline.model_validate(pipeline | {"split": {"seed": 1, "validation_fraction": 0.2}}), paths)
        [file] = json.loads(paths.ingest_metrics.read_text())["files"]
        return shards.scan(paths.examples).collect().sort("example_id"), file

    return run


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A Delta table: version 0 has the first rows, version 1 all, and version 2 lacks one of them."""
    deltalake = pytest.importorskip("deltalake", reason="needs the extra delta")
    folder = tmp_path / "lake" / "orders"
    deltalake.write_deltalake(folder, table(FIRST), partition_by=["kind"])
    deltalake.write_deltalake(folder, table(SECOND), mode="append")
    deltalake.DeltaTable(folder).delete("id = 9007199254740992")
    return folder


def test_a_version_of_a_delta_table_is_read_and_recorded(delta: Path, ingested) -> None:
    examples, file = ingested(kind="delta", path="lake/orders", version=1)
    assert examples["example_id"].n_unique() == 3
    assert sorted(examples["size"].drop_nulls().to_list()) == [0.5, 2.5]
    assert sorted(examples["price"].drop_nulls().to_list()) == [1.1, 123456789012345678.05]
    assert set(examples["at"].to_list()) == {20777.5}
    assert file["version"].startswith("1 of ")
    again, same = ingested(kind="delta", path=str(delta), version=1, sha256=file["sha256"])
    assert again.equals(examples)
    assert same == file
    newest, file = ingested(kind="delta", path="lake/orders")
    assert newest.height == 2
    assert file["version"].startswith("2 of ")


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ({"path": "lake/none"}, ParamsError, r"ingest.source.path: .*lake/none is no Delta table"),
        ({"version": 99}, DataError, r"^lake/orders, version 99: .*"),
        ({"sha256": "0" * 64}, DataError, r"lake/orders gave other rows than ingest.source.sha256 names"),
        ({"max_bytes": 10}, DataError, r"lake/orders gave more than 10 bytes of rows"),
    ],
)
def test_a_delta_table_that_is_not_there_is_refused(delta: Path, ingested, source, kind, said) -> None:
    with pytest.raises(kind, match=said) as raised:
        ingested(**{"kind": "delta", "path": "lake/orders", **source})
    assert "\n" not in str(raised.value)


def test_a_damaged_delta_table_is_refused(delta: Path, ingested) -> None:
    file = next(delta.rglob("*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="lake/orders"):
        ingested(kind="delta", path="lake/orders")
    shutil.rmtree(delta / "_delta_log")
    (delta / "_delta_log").mkdir()
    with pytest.raises(ParamsError, match="is no Delta table"):
        ingested(kind="delta", path="lake/orders")


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (signal.SIGABRT, DataError, "lake/orders can't be read: its reader ended with SIGABRT"),
        (signal.SIGKILL, ServiceError, "lake/orders: its reader was killed by SIGKILL: out of memory"),
    ],
)
def test_a_reader_that_ends_its_process_ends_nothing_else(
    delta: Path, ingested, tmp_path: Path, monkeypatch, number, kind, said
) -> None:
    """As delta-rs does for some damaged pages: Rust aborts."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "deltalake.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    with pytest.raises(kind, match=said):
        ingested(kind="delta", path="lake/orders")


def test_a_file_that_a_table_has_lost_is_named(delta: Path, ingested) -> None:
    next(delta.rglob("*.parquet")).unlink()
    with pytest.raises(DataError, match=r"lake/orders: expected a regular file, found nothing: .*parquet"):
        ingested(kind="delta", path="lake/orders", version=1)


def test_a_column_that_a_table_lacks_is_named(delta: Path, ingested, monkeypatch) -> None:
    monkeypatch.setitem(SETTINGS, "key", ["number"])
    with pytest.raises(DataError, match=r"lake/orders: no column 'number'; found id, size, price, at, kind"):
        ingested(kind="delta", path="lake/orders")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("{secret}", "names a file outside of its folder"),
        ("file://{secret}", "names a file outside of its folder"),
        ("../../secret/rows.parquet", "names a file outside of its folder"),
        ("%2e%2e/%2E%2E/secret/rows.parquet", "names a file outside of its folder"),
        ("..\\..\\secret/rows.parquet", "names a file outside of its folder"),
        (".\t./.\n./secret/rows.parquet", "names a file outside of its folder"),
        ("http://127.0.0.1:9/rows.parquet", "names a file outside of its folder"),
        ("link.parquet", "names a file outside of its folder"),
        ("pipe", "expected a regular file, found something else"),
    ],
)
def test_a_delta_table_can_not_name_files_outside_of_its_folder(
    delta: Path, ingested, tmp_path: Path, uri, said
) -> None:
    secret = tmp_path / "secret" / "rows.parquet"
    secret.parent.mkdir()
    pl.DataFrame(table(FIRST)).write_parquet(secret)
    (delta / "link.parquet").symlink_to(secret)
    os.mkfifo(delta / "pipe")
    first = delta / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in first.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            action["add"] |= {"path": uri.format(secret=secret), "stats": None}
    first.write_text("\n".join(map(json.dumps, actions)))
    with pytest.raises(DataError, match=f"lake/orders: {said}") as raised:
        ingested(kind="delta", path="lake/orders", version=0)
    assert "\n" not in str(raised.value)


@pytest.fixture
def iceberg(tmp_path: Path) -> tuple[Path, str, int]:
    """A catalog with one table, its metadata file, and the first of its two snapshots."""
    pytest.importorskip("pyiceberg", reason="needs the extra iceberg")
    from pyiceberg.catalog.sql import SqlCatalog

    (tmp_path / "lake").mkdir()
    catalog = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/lake/catalog.db", warehouse=f"file://{tmp_path}/lake")
    catalog.create_namespace("shop")
    made = catalog.create_table("shop.orders", schema=SCHEMA)
    made.append(table(FIRST))
    first = made.current_snapshot()
    made.append(table(SECOND))
    catalog.engine.dispose()
    return tmp_path / "lake" / "catalog.db", made.metadata_location.removeprefix("file://"), first.snapshot_id


def test_a_snapshot_of_an_iceberg_table_is_read_and_recorded(iceberg, ingested) -> None:
    catalog, metadata, first = iceberg
    examples, file = ingested(kind="iceberg", path="lake/catalog.db", table="shop.orders", snapshot=first)
    assert examples["example_id"].n_unique() == 2
    assert sorted(examples["price"].drop_nulls().to_list()) == [1.1]
    assert set(examples["at"].to_list()) == {20777.5}
    assert file["version"].startswith(f"{first} of ")
    by_file = ingested(kind="iceberg", path=metadata, snapshot=first, sha256=file["sha256"])
    assert by_file[0].equals(examples)
    assert by_file[1] == file
    current, _ = ingested(kind="iceberg", path=str(catalog), table="shop.orders")
    assert current.height == 3


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ({"path": "lake/none.db"}, ParamsError, r"ingest.source.path: no file .*lake/none.db"),
        ({"table": "shop.other"}, ParamsError, r"ingest.source.table: .*catalog.db has no tables 'shop.other'"),
        ({"snapshot": 5}, ParamsError, r"^shop.orders: no snapshot 5; the last ones are \d+, \d+"),
        ({"path": "lake/text.db"}, ParamsError, r"lake/text.db is no SQLite catalog of Iceberg"),
        ({"path": "lake/text.metadata.json", "table": None}, DataError, r"lake/text.metadata.json can't be read: "),
        ({"max_bytes": 10}, DataError, r"shop.orders gave more than 10 bytes of rows"),
    ],
)
def test_an_iceberg_table_that_is_not_there_is_refused(iceberg, ingested, source, kind, said) -> None:
    for name in ("text.db", "text.metadata.json"):
        iceberg[0].with_name(name).write_text("no table at all")
    with pytest.raises(kind, match=said) as raised:
        ingested(**{"kind": "iceberg", "path": "lake/catalog.db", "table": "shop.orders", **source})
    assert "\n" not in str(raised.value)


def test_a_damaged_iceberg_table_is_refused(iceberg, ingested) -> None:
    for file in iceberg[0].parent.rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"shop.orders can't be read"):
        ingested(kind="iceberg", path="lake/catalog.db", table="shop.orders")


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("*.metadata.json", lambda content: content.replace(b'"properties":{', b'"properties":"x","more":{', 1)),
        ("*.metadata.json", lambda content: content[:200]),
        ("snap-*.avro", lambda content: content.replace(b'"type"', b'"tape"')),
        ("*-m0.avro", lambda content: content[:-40] + b"\xff" * 40),
        ("*-m0.avro", lambda _: b"Obj\x01"),
    ],
)
def test_damaged_metadata_of_iceberg_is_one_line(iceberg, ingested, pattern: str, damage) -> None:
    for file in Path(iceberg[1]).parent.glob(pattern):
        content = file.read_bytes()
        file.write_bytes(damage(content))
        assert file.read_bytes() != content
    with pytest.raises(DataError, match=r"shop.orders can't be read: ") as raised:
        ingested(kind="iceberg", path="lake/catalog.db", table="shop.orders")
    assert "\n" not in str(raised.value)


def test_an_iceberg_table_runs_no_function_that_its_metadata_names(iceberg, ingested, tmp_path: Path) -> None:
    file, planted = Path(iceberg[1]), tmp_path / "planted"
    metadata = json.loads(file.read_text())
    # pyiceberg calls the function by this name with all properties, which Popen takes for a command.
    metadata["properties"] = {"/bin/sh": "", "-c": "", f"echo > {planted}": "", "py-io-impl": "subprocess.Popen"}
    file.write_text(json.dumps(metadata))
    examples, _ = ingested(kind="iceberg", path=str(file))
    assert examples.height == 3
    assert not planted.exists()


@pytest.mark.parametrize("where", ["s3://bucket/list.avro", "http://127.0.0.1:9/list.avro", "outside", "link", "pipe"])
def test_an_iceberg_table_can_not_name_files_outside_of_its_folder(iceberg, ingested, tmp_path: Path, where) -> None:
    file = Path(iceberg[1])
    metadata = json.loads(file.read_text())
    [snapshot] = [one for one in metadata["snapshots"] if one["snapshot-id"] == metadata["current-snapshot-id"]]
    manifests = Path(snapshot["manifest-list"].removeprefix("file://"))
    outside = manifests.rename(tmp_path / manifests.name)
    (file.parent / "link").symlink_to(outside)
    os.mkfifo(file.parent / "pipe")
    places = {"outside": outside, "link": file.parent / "link", "pipe": file.parent / "pipe"}
    snapshot["manifest-list"] = str(places.get(where, where))
    file.write_text(json.dumps(metadata))
    with pytest.raises(
        DataError, match=r"(names a file outside|expected a regular file|expected files of this machine)"
    ):
        ingested(kind="iceberg", path="lake/catalog.db", table="shop.orders")


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "delta", "path": "gs://bucket/orders"},
        {"kind": "delta", "path": "lake", "version": -1},
        {"kind": "iceberg", "path": "lake/catalog.db"},
        {"kind": "iceberg", "path": "lake/catalog.db", "table": "orders"},
    ],
)
def test_settings_that_can_not_be_are_refused(source, ingested) -> None:
    with pytest.raises(ValidationError):
        ingested(**source)


@pytest.mark.parametrize(("kind", "module"), [("delta", "deltalake"), ("iceberg", "pyiceberg")])
def test_a_reader_that_is_not_installed_is_named(kind: str, module: str, ingested, monkeypatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ParamsError, match=rf"pip install 'headrace\[{kind}\]'"):
        ingested(kind=kind, path="lake/t.metadata.json")
