"""Sets of files in a folder or bucket: found by a pattern, copied one by one or, if they are many, packed."""

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from headrace.components.errors import DataError, ServiceError
from headrace.components.mapping import map_in_threads
from headrace.components.sources.archives import Limits, Member, relative_name
from headrace.components.sources.file import IMAGE_SUFFIXES
from headrace.components.sources.file_set import FileSet, matching_files
from headrace.components.sources.other_files import OtherFiles, should_report
from headrace.pipelines.fetching.derived_files import Copy
from headrace.pipelines.object_store.objects import Storage, open_storage

_FAST_SECONDS = 0.0002  # for an object, written too: readers that wait for Python's lock would take longer
_PATIENCE_SECONDS = 0.1
_READERS = 8  # concurrent, because a bucket's latency is longer than a small object's transfer
_READ_AT_ONCE = 8  # files that a reader returns: to wake it up takes longer than to read a small one


def find_files(files: FileSet) -> list[str]:
    """Paths below `root` of a set of files, sorted; raise DataError if there are none."""
    return _matching(files, open_storage(files.root).keys(_beginning(files)))


def copied_files(files: FileSet, *, folder: Path) -> list[Copy]:
    """Plan to copy a set's files to `folder`, with `/` in their names made `_`; DataError for an empty set."""
    return copied(files.root, find_files(files), folder=folder)


def copied(root: str, keys: Sequence[str], *, folder: Path) -> list[Copy]:
    """Plan to copy files below `root` to `folder`, with `/` in their names made `_`."""
    storage = open_storage(root)
    return [
        Copy(
            folder / key.replace("/", "_"),
            version and f"{root} {key} {version}",
            partial(_download, storage, key, root=root),
        )
        for key, version in _versions(storage, keys).items()
    ]


def packed_images(files: FileSet, *, folder: Path, others: OtherFiles, prefix: str = "") -> list[Copy]:
    """Plan to pack a set's images in `folder`: one Parquet file for each folder of the set, in order.

    DVC keeps few large files, not many small. Equal images make equal files; their names start with `prefix`. Raises
    DataError if no file is an image by its name; `others` counts those that are none.
    """
    storage = open_storage(files.root)
    versions = storage.versions(_beginning(files))
    matching = _matching(files, list(versions))
    keys = [key for key in matching if others.meet(key)]
    for key in _hidden(files.root, versions, {_parent(key) for key in matching}):
        others.count(key)
    if not keys:
        raise DataError(
            f"{files.root}: {files.pattern} has no images, but {should_report(others.counts)}; expected names that "
            f"end in {', '.join(IMAGE_SUFFIXES)}"
        )
    copies = []
    for parent, group in groupby(sorted(keys, key=_parent), key=_parent):
        members = {key: versions[key] for key in group}
        content = hashlib.sha256(repr((files.root, members)).encode()).hexdigest()
        origin = None if None in members.values() else content
        path = folder / f"{prefix}{parent.replace('/', '_') or 'images'}.parquet"
        copies.append(Copy(path, origin, partial(_pack, storage, list(members), root=files.root)))
    return copies


def _hidden(root: str, keys: Iterable[str], folders: Collection[str]) -> list[str]:
    """The files in some folders whose names start with a point: no pattern fits them, and no folder lists them."""
    if not root.startswith("s3://"):
        keys = [
            f"{folder}/{path.name}" for folder in folders for path in Path(root, folder).glob(".*") if path.is_file()
        ]
    return [key for key in keys if _parent(key) in folders and key.rpartition("/")[2].startswith(".")]


def _beginning(files: FileSet) -> str:
    return files.pattern.partition("*")[0]


def _matching(files: FileSet, keys: Sequence[str]) -> list[str]:
    found = matching_files(keys, pattern=files.pattern)
    if not found:
        others = f", but {len(keys)} other files, such as {keys[0]}" if keys else ""
        raise DataError(f"{files.root}: there is no {files.pattern}{others}; add it there, or fix root and pattern")
    return found


def _versions(storage: Storage, keys: Sequence[str]) -> dict[str, str | None]:
    found = storage.versions(os.path.commonprefix(keys))  # noqa: RUF071 - by character is meant
    return {key: found.get(key) for key in keys}


def _parent(key: str) -> str:
    return key.rpartition("/")[0]


def _download(storage: Storage, key: str, target: Path, *, root: str) -> None:
    if not storage.download(key, target):
        raise _removed(root, key)


def _pack(storage: Storage, keys: Sequence[str], target: Path, *, root: str) -> None:
    # Imported here: Airflow parses DAGs with this module, and Arrow takes a second.
    from headrace.components.sources.packed_images import write_packed_images

    write_packed_images(_members(storage, keys, root=root), target)


def _members(storage: Storage, keys: Sequence[str], *, root: str) -> Iterator[Member]:
    """Read images; raise DataError for one that an archive could not have either: by its name, or too large."""
    for key, content in zip(keys, _contents(storage, keys), strict=True):
        if content is None:
            raise _removed(root, key)
        if len(content) > Limits.member_bytes:
            size = f"has {len(content)} bytes, more than {Limits.member_bytes}"
            raise DataError(f"{root}: {key!r} {size}; make the image smaller, or remove it")
        try:
            name = relative_name(key)
        except ValueError as error:
            raise DataError(f"{root}: {key!r} {error}; rename it") from error
        yield Member(name, content)


def _contents(storage: Storage, keys: Sequence[str]) -> Iterator[bytes | None]:
    """Read one object after the other while that is fast, as on this machine's disk; else several in parallel."""
    started = time.perf_counter()
    for place, key in enumerate(keys):
        if time.perf_counter() - started > _PATIENCE_SECONDS + place * _FAST_SECONDS:
            yield from _contents_by_readers(storage, keys[place:])
            return
        yield storage.read(key)


def _contents_by_readers(storage: Storage, keys: Sequence[str]) -> Iterator[bytes | None]:
    chunks = [keys[start : start + _READ_AT_ONCE] for start in range(0, len(keys), _READ_AT_ONCE)]
    for chunk in map_in_threads(partial(_read, storage), chunks, threads=_READERS, waiting=0):
        yield from chunk


def _read(storage: Storage, keys: Sequence[str]) -> list[bytes | None]:
    return [storage.read(key) for key in keys]


def _removed(root: str, key: str) -> ServiceError:
    return ServiceError(f"{root}: {key} was removed while it was read; run again")
