"""Files and folders published together: whole and verified where they arrive, or not there."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from headrace.components.errors import ServiceError
from headrace.components.files.atomic import replace_folder
from headrace.components.files.digests import file_digest
from headrace.components.schema.settings import Settings
from headrace.pipelines.object_store.objects import Storage

MANIFEST = "published.json"
THREADS = 4


class _File(Settings):
    size_bytes: int
    sha256: str


class Manifest(Settings):
    """What was published under a key, by relative path; written last."""

    files: dict[str, _File]


def publish(sources: Mapping[str, Path], *, storage: Storage, key: str) -> bool:
    """Upload files, and folders with all that is in them, under `key`; return False where that was done before.

    `sources` names each by its place in what `fetch` gives back. Nothing is there before all of it is.
    """
    if is_published(key, storage=storage):
        return False
    files = _files(sources)
    manifest = Manifest(files={name: _described(file) for name, file in files.items()})
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda name: storage.upload(f"{key}/{name}", files[name]), files))
    return storage.create(f"{key}/{MANIFEST}", manifest.model_dump_json(indent=1).encode())


def is_published(key: str, *, storage: Storage) -> bool:
    """Whether all files under the key are in the storage: the manifest is written last."""
    return f"{key}/{MANIFEST}" in storage.keys(f"{key}/{MANIFEST}")


def fetch(key: str, folder: Path, *, storage: Storage) -> bool:
    """Make `folder` what was published under `key` and return True; False, changing nothing, where nothing was.

    Raises ServiceError where a file is missing or is not what was published.
    """
    if not is_published(key, storage=storage):
        return False
    with replace_folder(folder) as temporary:
        listing = temporary / MANIFEST
        storage.download(f"{key}/{MANIFEST}", listing)
        files = _read(listing, key).files
        listing.unlink()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda name: _fetch(name, files[name], temporary, key, storage), files))
    return True


def withdraw(key: str, *, storage: Storage) -> None:
    """Remove what was published under `key`, its manifest first; nothing happens where nothing was."""
    storage.remove(f"{key}/{MANIFEST}")
    for name in storage.keys(f"{key}/"):
        storage.remove(name)


def _read(listing: Path, key: str) -> Manifest:
    try:
        return Manifest.model_validate_json(listing.read_bytes())
    except ValidationError as error:
        raise ServiceError(
            f"{key}/{MANIFEST} in the storage is damaged; remove it, and it is published again"
        ) from error


def _fetch(name: str, expected: _File, folder: Path, key: str, storage: Storage) -> None:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ServiceError(f"{key}/{MANIFEST} in the storage names {name!r}, which is outside of its folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    there = storage.download(f"{key}/{name}", file)
    found = _described(file) if there else None
    if found != expected:
        said = f"{found.size_bytes} bytes, SHA-256 {found.sha256}" if found else "nothing"
        raise ServiceError(
            f"{key}/{name} in the storage is not what was published: expected {expected.size_bytes} bytes, SHA-256 "
            f"{expected.sha256}, found {said}; remove {key}/{MANIFEST}, and it is published again"
        )


def _files(sources: Mapping[str, Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, source in ((PurePosixPath(place), path) for place, path in sources.items()):
        if source.is_dir():
            found = sorted(path for path in source.rglob("*") if path.is_file())
            files |= {(name / path.relative_to(source)).as_posix(): path for path in found}
        else:
            files[name.as_posix()] = source
    return files


def _described(file: Path) -> _File:
    return _File(size_bytes=file.stat().st_size, sha256=file_digest(file))
