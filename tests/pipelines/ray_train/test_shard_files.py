"""Shards of a bucket as files of a node, from a server of S3's API."""

from pathlib import Path

import boto3
import pytest

from headrace.components.errors import ServiceError
from headrace.components.files.digests import file_digest
from headrace.components.training.feeding.window_parts import Shard
from headrace.pipelines.object_store import objects
from headrace.pipelines.object_store.file_cache import FileCache
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import LinkedFile, Manifest, StoredFile
from headrace.pipelines.ray_train import shard_files
from headrace.pipelines.ray_train.shard_files import ShardFiles

KEY, CONTENT = "inputs/1", b"rows" * 1000


@pytest.fixture
def placed(endpoint, tmp_path, monkeypatch) -> Path:
    """The bucket's folder: two shards, of which the second is where DVC has pushed it. Nobody waits for long."""
    monkeypatch.setattr(shard_files, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(shard_files, "LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(shard_files, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    bucket = tmp_path / "buckets" / "lake"
    for place in (f"work/{KEY}/splits/train/part-00000.parquet", "dvc/files/md5/ab/cd"):
        (bucket / place).parent.mkdir(parents=True)
        (bucket / place).write_bytes(CONTENT)
    return bucket


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def files(placed, endpoint, tmp_path, notes) -> ShardFiles:
    content = placed / "dvc" / "files" / "md5" / "ab" / "cd"
    address = f"?endpoint_url={endpoint}"
    linked = LinkedFile(
        size_bytes=len(CONTENT),
        md5=file_digest(content, "md5"),
        storage=f"s3://lake/dvc{address}",
        key="files/md5/ab/cd",
    )
    stored = StoredFile(size_bytes=len(CONTENT), sha256=file_digest(content))
    names = {"splits/train/part-00000.parquet": stored, "splits/train/part-00001.parquet": linked}
    return ShardFiles(
        Manifest(files=names),
        key=KEY,
        storage=open_storage(f"s3://lake/work{address}"),
        cache=FileCache(tmp_path / "cache", limit_bytes=0),
        on_note=notes.append,
    )


def read(files: ShardFiles, number: int = 0) -> bytes:
    with files.opened(Shard("train", number, 1.0)) as file:
        return file.read_bytes()


def test_shards_are_read_from_where_they_are(files, notes):
    assert read(files) == read(files, 1) == CONTENT
    assert notes == []


@pytest.mark.parametrize(
    ("number", "content", "said"),
    [
        (0, CONTENT[:-1], "not what was published: expected 4000 bytes, .*, found 3999 bytes"),
        (0, CONTENT[::-1], "not what was published: .*; remove inputs/1/published.json"),
        (0, None, "found nothing; remove"),
        (1, CONTENT[::-1], "is files/md5/ab/cd in s3://lake/dvc.*, is not what DVC pushed: .*run `dvc push`"),
    ],
)
def test_a_truncated_changed_or_missing_object_is_fetched_once_more_and_then_one_line(
    files, placed, notes, number, content, said
):
    place = placed / ("dvc/files/md5/ab/cd" if number else f"work/{KEY}/splits/train/part-00000.parquet")
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(ServiceError, match=said):
        read(files, number)
    assert len(notes) == 1
    place.write_bytes(CONTENT)
    assert read(files, number) == CONTENT


def test_an_object_that_was_damaged_on_its_way_comes_whole_the_second_time(files, placed, notes, tmp_path):
    place = placed / f"work/{KEY}/splits/train/part-00000.parquet"
    place.write_bytes(CONTENT[::-1])

    def repair(note: str) -> None:
        notes.append(note)
        place.write_bytes(CONTENT)

    files._on_note = repair
    assert read(files) == CONTENT
    assert len(notes) == 1


def test_a_storage_that_is_away_is_waited_for(files, placed, notes):
    away = placed.with_name("away")
    away.touch()

    def come_back(note: str) -> None:
        notes.append(note)
        if len(notes) == 3:
            away.unlink()

    files._on_note = come_back
    assert read(files) == CONTENT
    assert "storage can't read inputs/1/splits/train/part-00000.parquet" in notes[0]


def test_a_storage_that_stays_away_is_one_note_a_minute_and_a_line_that_says_what_to_do(
    files, placed, notes, monkeypatch
):
    monkeypatch.setattr(shard_files, "AWAY_SECONDS", 0.3)
    monkeypatch.setattr(shard_files, "NOTE_SECONDS", 60.0)
    placed.with_name("away").touch()
    with pytest.raises(ServiceError, match="waited for 0 s: see that the storage is up, and start the same command"):
        read(files)
    assert len(notes) == 1


def test_keys_that_may_not_read_are_not_waited_for(files, notes, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the keys that it has found once
    with pytest.raises(ServiceError, match="storage can't read"):
        read(files)
    assert notes == []
