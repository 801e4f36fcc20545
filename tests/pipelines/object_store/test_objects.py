import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.object_store import objects
from headrace.pipelines.object_store.objects import AwayError, open_storage


@pytest.fixture
def storage(tmp_path: Path):
    return open_storage(str(tmp_path / "a shared folder"))


def test_an_object_comes_back_as_it_was(storage, tmp_path):
    (tmp_path / "here").write_bytes(b"\0content")
    storage.upload("a/b", tmp_path / "here")
    assert storage.download("a/b", tmp_path / "back")
    assert storage.read("a/b") == (tmp_path / "back").read_bytes()
    assert (tmp_path / "back").read_bytes() == b"\0content"


def test_an_object_that_is_not_there_changes_nothing(storage, tmp_path):
    assert not storage.download("a/b", tmp_path / "back")
    assert storage.read("a/b") is None
    assert not (tmp_path / "back").exists()
    storage.remove("a/b")


def test_an_object_is_created_once(storage, tmp_path):
    assert storage.create("a/b", b"first")
    assert not storage.create("a/b", b"second")
    storage.download("a/b", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"first"


def test_keys_are_those_of_whole_objects(storage):
    for name in ("a/c", "a/b", "b/a"):
        storage.create(name, b"")
    assert storage.keys("a/") == ["a/b", "a/c"]
    storage.remove("a/b")
    assert storage.keys("") == ["a/c", "b/a"]


def test_what_cannot_be_read_is_reported_and_a_link_to_nothing_is_no_object(storage, tmp_path):
    storage.create("a/b", b"")
    (tmp_path / "a shared folder" / "a" / "nothing").symlink_to("nowhere")
    (tmp_path / "a shared folder" / "a" / "folder").mkdir()
    assert storage.keys("") == list(storage.versions("")) == ["a/b"]
    (tmp_path / "a shared folder" / "a" / "loop").symlink_to("loop")
    for listing in (storage.keys, storage.versions):
        with pytest.raises(ServiceError, match=r"storage can't list .*/a/: .*Too many levels of symbolic links"):
            listing("a/")


def test_folders_behind_links_are_read_and_links_that_lead_back_end(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root / "here", elsewhere / "deep"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("content")
    (root / "there").symlink_to(elsewhere)
    (root / "same").symlink_to(elsewhere)
    for place, target in (("back", root), ("here/up", tmp_path), ("here/other", elsewhere)):
        (root / place).symlink_to(target)
    (elsewhere / "round").symlink_to(root / "here")
    (elsewhere / "deep" / "again").symlink_to(elsewhere)
    found = open_storage(str(root)).keys("")
    assert {"here/file", "there/deep/file", "same/deep/file", "there/round/file"} <= set(found)
    assert len(found) == len(set(found)) < 20
    assert open_storage(str(root)).read("there/deep/file") == b"content"


def test_a_file_where_a_folder_should_be_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=r"storage can't list .*file/: .*Not a directory"):
        open_storage(str(tmp_path / "file")).keys("")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="storage can't write a/b"):
        open_storage(str(tmp_path / "file")).create("a/b", b"")


def test_what_cannot_be_removed_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=r"storage can't remove a/b in .*Not a directory"):
        open_storage(str(tmp_path / "file")).remove("a/b")


@pytest.mark.parametrize("address", ["relative/folder", "ftp://host/x", "s3://", ""])
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(ParamsError, match="s3://BUCKET/PREFIX or in a folder's full path"):
        open_storage(address)


@contextmanager
def bucket_that_refuses(status: int, code: str) -> Iterator[str]:
    """The address of a bucket whose server answers everything like this."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"s3://exchange/here?endpoint_url=http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def keys_of_access(monkeypatch, tmp_path):
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (400, "ExpiredToken", "the keys have expired: log in again"),
        (403, "InvalidAccessKeyId", "fix AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not that of AWS_ACCESS_KEY_ID"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong"),
        (403, "AccessDenied", "these keys need s3:ListBucket"),
        (404, "NoSuchBucket", "there is no such bucket: fix its name"),
    ],
)
def test_what_a_bucket_refuses_comes_with_its_remedy(keys_of_access, status, code, remedy):
    with bucket_that_refuses(status, code) as address, pytest.raises(ServiceError, match=remedy):
        open_storage(address).keys("")


def test_a_bucket_without_keys_of_access_names_the_variables(keys_of_access, monkeypatch):
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the keys that it has found once
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with bucket_that_refuses(403, "AccessDenied") as address, pytest.raises(ServiceError, match="set AWS_PROFILE, or"):
        open_storage(address).keys("")


def test_a_server_that_does_not_answer_is_away_and_one_that_refuses_is_not(keys_of_access, monkeypatch):
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    with pytest.raises(AwayError, match="see that the server is up"):
        open_storage("s3://exchange/here?endpoint_url=http://127.0.0.1:1").read("a")
    for status, code, kind in ((503, "SlowDown", AwayError), (403, "AccessDenied", ServiceError)):
        with bucket_that_refuses(status, code) as address, pytest.raises(ServiceError) as raised:
            open_storage(address).keys("")
        assert raised.type is kind
