"""Partitions in a folder and in a bucket, which is a small server here: boto3 is real, its requests are counted."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from headrace.components.errors import DataError
from headrace.components.sources.partitions import Interval, Partitions
from headrace.pipelines.fetching.derived_files import write_copies
from headrace.pipelines.fetching.landed_partitions import are_there, partition_copies

FILES = {"date=2026-11-19/a.csv": b"0", "date=2026-11-20/b.csv": b"2", "date=2026-11-20/a.csv": b"1"}
DAY = Interval.model_validate({"start": "2026-11-20", "end": "2026-11-21"})
NEXT_DAY = Interval.model_validate({"start": "2026-11-21", "end": "2026-11-22"})


class Bucket(BaseHTTPRequestHandler):
    """What of S3 is needed to list and read the files above, in `landing` below `orders/`."""

    listed: list[str]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix("/landing/").removeprefix("orders/")
        if key in FILES:
            return self._answer(FILES[key])
        prefix = parse_qs(parts.query)["prefix"][0]
        self.listed.append(prefix)
        names = [name for name in (f"orders/{file}" for file in FILES) if name.startswith(prefix)]
        entries = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names)
        return self._answer(f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=["folder", "bucket"])
def partitions(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Partitions]:
    if request.param == "folder":
        for name, content in FILES.items():
            (tmp_path / "landing" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "landing" / name).write_bytes(content)
        yield Partitions(root=str(tmp_path / "landing"))
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(Bucket, "listed", [], raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Partitions(root=f"s3://landing/orders?endpoint_url=http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_the_files_of_an_interval_come_in_order(partitions, tmp_path):
    files = write_copies(partition_copies(partitions, DAY, folder=tmp_path / "raw"), aside=tmp_path / "aside")
    assert [(file.name, file.read_bytes()) for file in files] == [
        ("date=2026-11-20_a.csv", b"1"),
        ("date=2026-11-20_b.csv", b"2"),
    ]
    assert len(partition_copies(partitions, None, folder=tmp_path / "raw")) == len(FILES)


def test_a_missing_partition_is_named_with_what_there_is(partitions, tmp_path):
    with pytest.raises(DataError, match=r"there are 2, date=2026-11-19/\*\.csv to date=2026-11-20/\*\.csv"):
        partition_copies(partitions, NEXT_DAY, folder=tmp_path / "raw")


def test_looking_lists_the_interval_only(partitions):
    assert are_there(partitions, DAY)
    assert not are_there(partitions, NEXT_DAY)
    assert are_there(partitions, None)
    if partitions.root.startswith("s3:"):
        assert Bucket.listed == ["orders/date=2026-11-20/", "orders/date=2026-11-21/", "orders/"]
