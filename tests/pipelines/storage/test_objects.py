from pathlib import Path

import pytest

from components.errors import ParamsError, ServiceError
from pipelines.storage.objects import open_storage


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


def test_what_cannot_be_looked_at_is_told_of_and_a_link_to_nothing_is_no_object(storage, tmp_path):
    storage.create("a/b", b"")
    (tmp_path / "a shared folder" / "a" / "nothing").symlink_to("nowhere")
    (tmp_path / "a shared folder" / "a" / "folder").mkdir()
    assert storage.keys("") == list(storage.versions("")) == ["a/b"]
    (tmp_path / "a shared folder" / "a" / "loop").symlink_to("loop")
    for look in (storage.keys, storage.versions):
        with pytest.raises(ServiceError, match=r"storage can't look into .*/a/: .*Too many levels of symbolic links"):
            look("a/")


def test_a_file_where_a_folder_should_be_is_told_of(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=r"storage can't look into .*file/: .*Not a directory"):
        open_storage(str(tmp_path / "file")).keys("")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="storage can't write a/b"):
        open_storage(str(tmp_path / "file")).create("a/b", b"")


@pytest.mark.parametrize("address", ["relative/folder", "ftp://host/x", "s3://", ""])
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(ParamsError, match="s3://BUCKET/PREFIX or in a folder's full path"):
        open_storage(address)
