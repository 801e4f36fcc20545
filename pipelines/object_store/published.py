"""Files and folders published together: whole and verified where they arrive, or not there."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from headrace.components.errors import ServiceError
from headrace.components.files.atomic import replace_folder
from headrace.components.files.digests import file_digest
from headrace.components.schema.settings import Settings
from headrace.pipelines.object_store.objects import Storage, open_storage

MANIFEST = "published.json"
THREADS = 4


class DamagedError(ServiceError):
    """An object is missing, truncated or another one than was published."""


class StoredFile(Settings):
    """A file that was uploaded under the key."""

    size_bytes: int
    sha256: str


class LinkedFile(Settings):
    """A file that was in a storage before, DVC's remote: it is used there."""

    size_bytes: int
    md5: str
    storage: str
    key: str


class Manifest(Settings):
    """What was published under a key, by relative path; written last."""

    files: dict[str, StoredFile | LinkedFile]


def publish(
    sources: Mapping[str, Path], *, storage: Storage, key: str, linked: Mapping[str, LinkedFile] | None = None
) -> bool:
    """Upload files, and folders with all that is in them, under `key`; return False where that was done before.

    `sources` names each by its place in what `fetch` gives back. Nothing is there before all of it is. Those of
    `linked`, by the same names, are neither read nor uploaded.
    """
    if is_published(key, storage=storage):
        return False
    linked = linked or {}
    files = {name: file for name, file in _files(sources).items() if name not in linked}
    manifest = Manifest(files={**{name: _described(file) for name, file in files.items()}, **linked})
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda name: storage.upload(f"{key}/{name}", files[name]), files))
    return storage.create(f"{key}/{MANIFEST}", manifest.model_dump_json(indent=1).encode())


def is_published(key: str, *, storage: Storage) -> bool:
    """Whether all files under the key are in the storage: the manifest is written last."""
    return f"{key}/{MANIFEST}" in storage.keys(f"{key}/{MANIFEST}")


def fetch(key: str, folder: Path, *, storage: Storage, left_out: Callable[[str], bool] = lambda _: False) -> bool:
    """Make `folder` what was published under `key` and return True; False, changing nothing, where nothing was.

    Files whose names are `left_out` are not fetched. Raises ServiceError where a file is missing or is not what was
    published.
    """
    manifest = published(key, storage=storage)
    if manifest is None:
        return False
    with replace_folder(folder) as temporary, ThreadPoolExecutor(THREADS) as threads:
        names = [name for name in manifest.files if not left_out(name)]
        list(threads.map(lambda name: _fetch(name, manifest.files[name], temporary, key, storage), names))
    return True


def published(key: str, *, storage: Storage) -> Manifest | None:
    """What was published under `key`, None where nothing was; raises ServiceError for a damaged manifest."""
    content = storage.read(f"{key}/{MANIFEST}")
    if content is None:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ServiceError(
            f"{key}/{MANIFEST} in the storage is damaged; remove it, and it is published again"
        ) from error


def fetch_file(name: str, described: StoredFile | LinkedFile, file: Path, *, key: str, storage: Storage) -> None:
    """Write one published file to `file`; raises ServiceError where it is missing or is not what was published.

    What is wrong with it is DamagedError, a ServiceError, too: another attempt may get it whole.
    """
    match described:
        case StoredFile(size_bytes=size_bytes, sha256=digest):
            place, algorithm, said = f"{key}/{name}", "sha256", f"{key}/{name} in the storage is not what was published"
            fix = f"remove {key}/{MANIFEST}, and it is published again"
        case LinkedFile(size_bytes=size_bytes, md5=digest, key=place):
            storage, algorithm = open_storage(described.storage), "md5"
            said = f"{name}, which is {place} in {described.storage}, is not what DVC pushed"
            fix = "remove it there, and run `dvc push`"
    there = storage.download(place, file)
    found = (file.stat().st_size, file_digest(file, algorithm)) if there else None
    if found != (size_bytes, digest):
        shown = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
        is_there = f"{found[0]} bytes, {shown} {found[1]}" if found else "nothing"
        raise DamagedError(f"{said}: expected {size_bytes} bytes, {shown} {digest}, found {is_there}; {fix}")


def withdraw(key: str, *, storage: Storage) -> None:
    """Remove what was published under `key`, its manifest first; nothing happens where nothing was."""
    storage.remove(f"{key}/{MANIFEST}")
    for name in storage.keys(f"{key}/"):
        storage.remove(name)


def _fetch(name: str, described: StoredFile | LinkedFile, folder: Path, key: str, storage: Storage) -> None:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ServiceError(f"{key}/{MANIFEST} in the storage names {name!r}, which is outside of its folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    fetch_file(name, described, file, key=key, storage=storage)


def _files(sources: Mapping[str, Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, source in ((PurePosixPath(place), path) for place, path in sources.items()):
        if source.is_dir():
            found = sorted(path for path in source.rglob("*") if path.is_file())
            files |= {(name / path.relative_to(source)).as_posix(): path for path in found}
        else:
            files[name.as_posix()] = source
    return files


def _described(file: Path) -> StoredFile:
    return StoredFile(size_bytes=file.stat().st_size, sha256=file_digest(file))
