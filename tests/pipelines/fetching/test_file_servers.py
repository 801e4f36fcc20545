"""Files of a bucket, which is a small server here: boto3 is real."""

import base64
import hashlib
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import stamina

from headrace.components.errors import DataError, ServiceError
from headrace.components.sources.file import SourceFile
from headrace.pipelines.fetching.fetch import fetch

VERSIONS = {"1": b"a,b\n1,2\n" * 30_000, "2": b"a,b\n3,4\n" * 30_000}
KEY = "a folder/data+ä.csv"


class Bucket(BaseHTTPRequestHandler):
    """One object of two versions, with what of S3's GetObject is needed, and the next of `server.faults` first."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.headers)
        parts = urlsplit(self.path)
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            return self._refuse(fault, "SlowDown")
        if unquote(parts.path) != f"/landing/{KEY}":
            return self._refuse(404, "NoSuchKey")
        content = VERSIONS.get(parse_qs(parts.query).get("versionId", [self.server.newest])[0])
        if content is None:
            return self._refuse(404, "NoSuchVersion")
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            return self._answer(304, {"ETag": etag})
        if self.headers.get("If-Match") not in (None, etag):
            return self._refuse(412, "PreconditionFailed")
        start = int(self.headers["Range"][6:-1]) if "Range" in self.headers else 0
        headers = {"ETag": etag, "Content-Length": len(content) - start}
        checksum = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        else:
            headers["x-amz-checksum-crc32"] = checksum
        if fault == "flip":
            content = content[:-2] + b"!\n"
        return self._answer(206 if start else 200, headers, content[start : 100_000 if fault == "break" else None])

    def _refuse(self, status: int, code: str) -> None:
        content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self._answer(status, {"Content-Length": len(content)}, content)

    def _answer(self, status: int, headers: dict[str, object], content: bytes = b"") -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Connection", "close")  # else the client may send its next request into a closing connection
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server, stamina.set_testing(True, attempts=3):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server.newest, server.faults, server.requests = "2", [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch_file(tmp_path, bucket):
    def call(**settings):
        file = SourceFile(**{"name": "data.csv", "url": f"s3://landing/{KEY}"} | settings)
        return fetch(file, dataset="x", folder=tmp_path / "raw", aside=tmp_path / "aside", root=tmp_path)

    return call


def test_an_object_is_fetched_signed_or_not_in_the_newest_or_a_given_version(bucket, fetch_file):
    assert fetch_file().read_bytes() == VERSIONS["2"]
    assert bucket.requests[0]["Authorization"].startswith("AWS4-HMAC-SHA256")
    assert fetch_file(version="1", anonymous=True).read_bytes() == VERSIONS["1"]
    assert "Authorization" not in bucket.requests[1]


def test_an_object_is_sent_again_only_if_it_changed(bucket, fetch_file):
    bucket.newest = "1"
    for _ in range(2):
        assert fetch_file().read_bytes() == VERSIONS["1"]
    bucket.newest = "2"
    assert fetch_file().read_bytes() == VERSIONS["2"]
    assert [request["If-None-Match"] is None for request in bucket.requests] == [True, False, False]


@pytest.mark.parametrize("fault", [503, 500, 429, "break", "flip"])
def test_what_may_pass_is_retried(bucket, fetch_file, fault):
    bucket.faults = [fault, fault]
    sha256 = hashlib.sha256(VERSIONS["2"]).hexdigest()
    assert fetch_file(sha256=sha256).read_bytes() == VERSIONS["2"]


def test_a_damaged_download_starts_over(bucket, fetch_file):
    bucket.faults = ["flip"]
    assert fetch_file().read_bytes() == VERSIONS["2"]
    assert [bool(request["Range"]) for request in bucket.requests] == [False, False]


def test_a_broken_download_goes_on_where_it_broke(bucket, fetch_file):
    bucket.faults = ["break"]
    assert fetch_file().read_bytes() == VERSIONS["2"]
    start = int(bucket.requests[1]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 100_000


def test_an_object_that_changed_between_attempts_starts_over(bucket, fetch_file):
    bucket.faults = ["break", 403]
    with pytest.raises(ServiceError):
        fetch_file()
    bucket.newest, bucket.faults = "1", []
    assert fetch_file().read_bytes() == VERSIONS["1"]
    assert [bool(request["Range"]) for request in bucket.requests] == [False, True, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "s3://landing/other"}, "404 Not Found"),
        ({"version": "9"}, "404 Not Found"),
        ({"url": "s3://no bucket/x"}, "Invalid bucket name"),
    ],
)
def test_what_is_not_there_is_an_error(fetch_file, settings, message):
    with pytest.raises(ServiceError, match=rf"s3://.*{message}"):
        fetch_file(**settings)


def test_a_bucket_that_cannot_be_reached_is_an_error(fetch_file, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(ServiceError, match="can't download s3://landing"):
        fetch_file()


def test_missing_keys_of_access_are_named(fetch_file, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ServiceError, match="anonymous: true"):
        fetch_file()


def test_an_object_that_is_too_large_is_refused(fetch_file):
    with pytest.raises(DataError, match="more than 1000 bytes"):
        fetch_file(max_bytes=1000)
