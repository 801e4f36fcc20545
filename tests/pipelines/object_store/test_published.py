from pathlib import Path

import pytest

from headrace.components.errors import ServiceError
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import MANIFEST, fetch, is_published, publish, withdraw


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def storage(shared: Path):
    return open_storage(str(shared))


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "splits" / "train").mkdir(parents=True)
    (tmp_path / "splits" / "train" / "part-0").write_text("rows")
    (tmp_path / "statistics.json").write_text("{}")
    return {"splits": tmp_path / "splits", "statistics.json": tmp_path / "statistics.json"}


def test_files_and_folders_arrive_as_they_were(sources, storage, tmp_path):
    assert publish(sources, storage=storage, key="inputs/1")
    assert fetch("inputs/1", tmp_path / "there", storage=storage)
    found = {
        path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*") if path.is_file()
    }
    assert found == {"splits/train/part-0", "statistics.json"}
    assert (tmp_path / "there" / "splits" / "train" / "part-0").read_text() == "rows"


def test_what_is_published_is_not_published_again(sources, storage):
    assert publish(sources, storage=storage, key="inputs/1")
    sources["statistics.json"].write_text("another")
    assert not publish(sources, storage=storage, key="inputs/1")
    assert storage.read("inputs/1/statistics.json") == b"{}"


def test_nothing_is_there_before_all_of_it_is(sources, storage, shared, tmp_path):
    publish(sources, storage=storage, key="inputs/1")
    (shared / "inputs" / "1" / MANIFEST).unlink()  # as if the upload had been cut short
    assert not is_published("inputs/1", storage=storage)
    assert not fetch("inputs/1", tmp_path / "there", storage=storage)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("content", ["row", "lies", None], ids=["truncated", "changed", "missing"])
def test_damage_is_found_and_nothing_arrives(sources, storage, shared, tmp_path, content):
    publish(sources, storage=storage, key="inputs/1")
    file = shared / "inputs" / "1" / "splits" / "train" / "part-0"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ServiceError, match="splits/train/part-0 in the storage is not what was published"):
        fetch("inputs/1", tmp_path / "there", storage=storage)
    assert not (tmp_path / "there").exists()


def test_a_manifest_cannot_write_outside_of_the_folder(sources, storage, shared, tmp_path):
    publish(sources, storage=storage, key="inputs/1")
    manifest = shared / "inputs" / "1" / MANIFEST
    manifest.write_text(manifest.read_text().replace("splits/train/part-0", "../../outside"))
    with pytest.raises(ServiceError, match="outside of its folder"):
        fetch("inputs/1", tmp_path / "there", storage=storage)


def test_what_is_withdrawn_is_gone(sources, storage):
    publish(sources, storage=storage, key="inputs/1")
    withdraw("inputs/1", storage=storage)
    assert storage.keys("") == []


class FailingStorage:
    """A storage that goes away after its first removal."""

    def __init__(self, storage) -> None:
        self._storage, self.removed = storage, []

    def __getattr__(self, name: str):
        return getattr(self._storage, name)

    def remove(self, key: str) -> None:
        if self.removed:
            raise ServiceError("away")
        self.removed.append(key)
        self._storage.remove(key)


def test_what_is_withdrawn_in_part_is_not_there(sources, storage, tmp_path):
    """The listing goes first: a storage that fails in the middle must not leave half of it for whole."""
    publish({**sources, "a first name": sources["statistics.json"]}, storage=storage, key="inputs/1")
    failing = FailingStorage(storage)
    with pytest.raises(ServiceError, match="away"):
        withdraw("inputs/1", storage=failing)
    assert failing.removed == [f"inputs/1/{MANIFEST}"]
    assert not fetch("inputs/1", tmp_path / "there", storage=storage)
