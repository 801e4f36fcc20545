"""Delta Lake and Iceberg tables in a bucket: read with the keys of the environment, from a server of S3's API."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

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

KEY = "the-key-of-a-test"
TABLE = pa.table({"id": [1, 2, 3], "size": [0.5, None, 2.5], "kind": ["big", "small", "big"]})
INGEST = {
    "key": ["id"],
    "features": {"size": {"type": "number", "nullable": True}},
    "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
}


def bucket_in(root: Path) -> type[BaseHTTPRequestHandler]:
    """A handler of what readers use of S3's API: objects are files below the folder, buckets its folders."""

    class Bucket(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            query, file = parse_qs(place.query, keep_blank_values=True), root / unquote(place.path).strip("/")
            if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
                self.answer(403, "<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>")
            elif "list-type" in query:
                self.answer(200, self.listing(file, query.get("prefix", [""])[0], query.get("start-after", [""])[0]))
            elif not file.is_file():
                self.answer(404, "<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>")
            else:
                self.send(file.read_bytes())

        def do_HEAD(self) -> None:
            self.do_GET()

        def send(self, content: bytes) -> None:
            found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if found is None:
                self.answer(200, content)
                return
            begin = int(found[1]) if found[1] else len(content) - int(found[2])
            end = min(int(found[2]) + 1 if found[1] and found[2] else len(content), len(content))
            self.answer(206, content[begin:end], {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"})

        def listing(self, bucket: Path, prefix: str, after: str) -> str:
            files = sorted(one for one in bucket.rglob("*") if one.is_file())
            keys = [(one.relative_to(bucket).as_posix(), one.stat().st_size) for one in files]
            contents = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>1</ETag>"
                "<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
                for key, size in keys
                if key.startswith(prefix) and key > after
            )
            return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"

        def answer(self, code: int, content: str | bytes, headers: dict[str, str] | None = None) -> None:
            body = content.encode() if isinstance(content, str) else content
            self.send_response(code)
            for name, value in {
                "Content-Length": str(len(body)),
                "ETag": '"1"',
                "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT",
                "x-amz-bucket-region": "eu-1",
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Bucket


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server whose bucket `lake` is a folder; the environment has its key."""
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-1"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "buckets" / "lake").mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), bucket_in(tmp_path / "buckets")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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
