"""Delta Lake and Iceberg tables in a bucket: read with the keys of the environment, from a server of S3's API."""

import json
from collections.abc import Callable
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

TABLE = pa.table({"id": [1, 2, 3], "size": [0.5, None, 2.5], "kind": ["big", "small", "big"]})
INGEST = {
    "key": ["id"],
    "features": {"size": {"type": "number", "nullable": True}},
    "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
}


@pytest.fixture
def ingested(tmp_path: Path, repository: Path) -> Callable[..., tuple[pl.DataFrame, dict[str, Any]]]:
    """Examples of a source, and the record of its file."""
    titanic = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]

    def run(**source: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
        section = {
            **titanic,
            "name": "rows",
            "ingest": {**INGEST, "source": source},
            "normalize": {"transforms": {"size": [{"kind": "impute", "strategy": "median"}]}},
            "split": {"seed": 1, "validation_fraction": 0.2},
            "results": {},
        }
        paths = PipelinePaths(tmp_path, "rows")
        ingest(Pipeline.model_validate(section), paths)
        [file] = json.loads(paths.ingest_metrics.read_text())["files"]
        return shards.scan(paths.examples).collect(), file

    return run


@pytest.fixture
def delta(endpoint: str, tmp_path: Path) -> str:
    """Address of a Delta table of two versions."""
    deltalake = pytest.importorskip("deltalake", reason="needs the extra delta")
    folder = tmp_path / "buckets" / "lake" / "shop" / "orders"
    deltalake.write_deltalake(folder, TABLE[:2])
    deltalake.write_deltalake(folder, TABLE[2:], mode="append")
    return f"s3://lake/shop/orders?endpoint_url={endpoint}"


def test_a_version_of_a_delta_table_in_a_bucket_is_read_and_recorded(delta, ingested):
    first, file = ingested(kind="delta", path=delta, version=0)
    newest, _ = ingested(kind="delta", path=delta)

    assert sorted(first["size"].to_list(), key=str) == [0.5, None]
    assert file["version"].startswith("0 of ")
    assert newest.height == 3


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "another"}, ServiceError, "s3://lake/shop/orders can't be read: .*"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, ServiceError, "no keys for s3://lake/shop/orders"),
        ({"path": "other"}, ParamsError, "ingest.source.path: s3://lake/other is no Delta table"),
    ],
)
def test_a_delta_table_that_can_not_be_reached_is_refused(change, error, said, delta, ingested, monkeypatch):
    for name, value in change.items():
        if name.startswith("AWS") and value is None:
            monkeypatch.delenv(name)
        elif name.startswith("AWS"):
            monkeypatch.setenv(name, value)
    path = delta.replace("shop/orders", change.get("path", "shop/orders"))

    with pytest.raises(error, match=said) as raised:
        ingested(kind="delta", path=path)

    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.fixture
def iceberg(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A catalog with a table in the bucket, and the address of the table's metadata file."""
    pytest.importorskip("pyiceberg", reason="needs the extra iceberg")
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO, PyArrowLocalFileSystem

    # Written into the folder of the bucket, since the server takes nothing; the names within are those in the bucket.
    def in_folder(_: PyArrowFileIO, location: str) -> PyArrowFile:
        return PyArrowFile(location, location.replace("s3://", f"{tmp_path}/buckets/"), PyArrowLocalFileSystem())

    with monkeypatch.context() as patched:
        for name in ("new_input", "new_output"):
            patched.setattr(PyArrowFileIO, name, in_folder)
        catalog = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse="s3://lake")
        catalog.create_namespace("shop")
        made = catalog.create_table("shop.orders", schema=TABLE.schema)
        made.append(TABLE)
        catalog.engine.dispose()
    return tmp_path / "catalog.db", f"{made.metadata_location}?endpoint_url={endpoint}"


def test_an_iceberg_table_in_a_bucket_is_read_by_its_metadata_and_by_a_catalog(
    iceberg, ingested, endpoint, monkeypatch
):
    catalog, metadata = iceberg
    by_file, file = ingested(kind="iceberg", path=metadata)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    by_catalog, same = ingested(kind="iceberg", path=str(catalog), table="shop.orders")

    assert by_file.height == 3
    assert by_catalog.equals(by_file)
    assert same == file
    with pytest.raises(ParamsError, match=r"is not there"):
        ingested(kind="iceberg", path=metadata.replace(".metadata.json", "0.metadata.json"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    with pytest.raises(ServiceError, match="can't be read"):
        ingested(kind="iceberg", path=metadata)


def test_an_iceberg_table_in_a_bucket_reads_nothing_from_elsewhere(iceberg, ingested, tmp_path):
    _, metadata = iceberg
    place = tmp_path / "buckets" / metadata.partition("?")[0].removeprefix("s3://")
    for other in (
        "s3://lake/shop/others",
        "s3://lake/shop/orders/../others",
        f"file://{tmp_path}/buckets/lake/shop/orders",
    ):
        text = place.read_text()
        place.write_text(text.replace("s3://lake/shop/orders/metadata/snap", f"{other}/metadata/snap"))
        with pytest.raises(DataError, match="names a file outside of its folder s3://lake/shop/orders: "):
            ingested(kind="iceberg", path=metadata)
        place.write_text(text)


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "delta", "path": "s3://key:secret@lake/orders"},
        {"kind": "delta", "path": "gs://lake/orders"},
        {"kind": "iceberg", "path": "s3://lake/orders"},
        {"kind": "iceberg", "path": "s3://lake/catalog.db", "table": "shop.orders"},
    ],
)
def test_addresses_with_keys_or_of_other_kinds_are_refused(source, ingested):
    with pytest.raises(ValidationError):
        ingested(**source)
