"""Files of a source, from a server, a bucket, this machine or a mirror folder: the right ones, whole, or not at all."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from headrace.components.errors import DataError, ServiceError
from headrace.components.files.digests import stream_digest
from headrace.components.files.regular_files import open_regular
from headrace.components.sources.file import SourceFile
from headrace.components.sources.file_set import FileSet
from headrace.pipelines.fetching.download import download, keep, recall, too_large
from headrace.pipelines.host.file_lock import locked

_CHUNK_BYTES = 1 << 22
_TICK_NS = 100_000_000

log = structlog.get_logger()


def fetch(
    file: SourceFile, *, dataset: str, folder: Path, aside: Path, root: Path, known_sha256: str | None = None
) -> Path:
    """Path of the file in `folder`, fetched unless it is known to be there already.

    It comes from its url, but from `$HEADRACE_MIRROR/<dataset>/<name>` where that variable is set and the url is not a
    path at which there is something. A path is relative to `root`. A pinned file with the right SHA-256 is not
    requested; else a server sends what it has not sent before. `aside`, on the disk of `folder`, keeps what a next call
    continues with, and refused files. For an unpinned file, `known_sha256` is that of the last ingest: a change is
    logged as a warning.

    Raises ServiceError if the file can't be had, DataError if it is refused; then `folder` has what it had before.
    """
    target = folder / file.name
    with locked(aside / f".{file.name}.lock"):  # two that continue with one partial file would mix their bytes
        if file.sha256 and target.is_file() and sha256_of(target) == file.sha256:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = _write_verified(file, _origin(file, dataset, root), target, aside)
    if known_sha256 not in (None, sha256) and not file.sha256:
        log.warning("changed since the last ingest", name=file.name, sha256=sha256, before=known_sha256)
    return target


def located(files: FileSet, *, dataset: str, root: Path) -> FileSet:
    """The set with its root on this machine: a relative one is below `root`, or `$HEADRACE_MIRROR/<dataset>`."""
    if files.root.startswith(("/", "s3://")):
        return files
    mirror, here = os.environ.get("HEADRACE_MIRROR"), root / files.root
    folder = Path(mirror) / dataset if mirror and not here.is_dir() else here
    return files.model_copy(update={"root": str(folder.absolute())})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits.

    What this process has read whole is not read again, wherever it was moved, while inode, size and time are the same.
    """
    with path.open("rb") as stream:
        state = _state(stream)
        if (known := _known_sums.get(state)) is not None:
            return known
        sha256 = stream_digest(stream)
        # Times are of a clock that ticks: who writes twice within a tick leaves the same one.
        if time.time_ns() - state.modified_ns > _TICK_NS and _state(stream) == state:
            _known_sums[state] = sha256
        return sha256


class _State(NamedTuple):
    device: int
    inode: int
    size_bytes: int
    modified_ns: int


_known_sums: dict[_State, str] = {}


def _state(stream: BinaryIO) -> _State:
    found = os.fstat(stream.fileno())
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _origin(file: SourceFile, dataset: str, root: Path) -> Path | None:
    """The file's path on this machine; None if it is elsewhere."""
    here = root / file.url if file.scheme == "path" else None
    mirror = os.environ.get("HEADRACE_MIRROR")
    if mirror and not (here and os.path.exists(here)):  # noqa: PTH110 - a name may be too long
        return Path(mirror) / dataset / file.name
    return here


def _write_verified(file: SourceFile, origin: Path | None, target: Path, aside: Path) -> str:
    """Make `target` hold the file, and return its SHA-256."""
    part, note = aside / f".{file.name}.part", aside / f".{file.name}.json"
    version = None
    if origin:
        note.unlink(missing_ok=True)  # what it says of `part` would no longer be true
        sha256 = _copy(origin, part, file)
    else:
        version = recall(note, file)
        have = version if version and target.is_file() and sha256_of(target) == version.sha256 else None
        version = download(file, part, note, have=have)
        if version is None and have and have.sha256:
            log.info("unchanged", name=file.name, sha256=have.sha256)
            return have.sha256
        sha256 = sha256_of(part)
    _require_sum(file, sha256, part, aside / file.name, origin=str(origin or file.url))
    log.info("fetched", name=file.name, bytes=part.stat().st_size, sha256=sha256)
    part.replace(target)
    if version:
        keep(note, version.model_copy(update={"sha256": sha256}))
    return sha256


def _require_sum(file: SourceFile, found: str, part: Path, refused: Path, *, origin: str) -> None:
    """Raise DataError, and keep the file aside, unless it is the one that params.yaml pins."""
    if file.sha256 in (None, found):
        return
    size = part.stat().st_size
    part.replace(refused)
    raise DataError(
        f"{file.name} from {origin} has another SHA-256 than params.yaml says: expected {file.sha256}, "
        f"found {found} ({size} bytes, kept as {refused}). If the file was meant to change, "
        "put the new SHA-256 into params.yaml; else it was damaged on the way or replaced: find a good copy"
    )


def _copy(source: Path, part: Path, file: SourceFile) -> str:
    """Make `part` a copy of a file, and return its SHA-256, which another thread makes of each chunk meanwhile."""
    digest = hashlib.sha256()
    with _opened(source) as stream, part.open("wb") as copy, ThreadPoolExecutor(1) as hasher:
        before = os.fstat(stream.fileno())
        if before.st_size > file.max_bytes:
            raise too_large(file, str(source))
        digested = hasher.submit(digest.update, b"")
        while chunk := stream.read(_CHUNK_BYTES):
            if copy.tell() + len(chunk) > file.max_bytes:  # what a file announces is not what it has
                copy.truncate(0)
                raise too_large(file, str(source))
            copy.write(chunk)
            digested.result()
            digested = hasher.submit(digest.update, chunk)  # while the next one is read and written
        digested.result()
        copy.flush()
        after = os.fstat(stream.fileno())
        if (before.st_mtime_ns, copy.tell()) != (after.st_mtime_ns, before.st_size):
            raise ServiceError(f"{source} changed while it was read; run again once it is whole")
        _known_sums[_state(copy)] = digest.hexdigest()  # nobody else writes to a part, which has a lock
    return digest.hexdigest()


def _opened(source: Path) -> BinaryIO:
    try:
        return open(source, "rb", opener=open_regular)
    except OSError as error:
        if "HEADRACE_MIRROR" not in os.environ:
            raise ServiceError(f"can't read {source}: {error.strerror}. Check the url in params.yaml") from error
        raise ServiceError(
            f"can't read {source}: {error.strerror}. HEADRACE_MIRROR is set, so files are looked up as "
            "<mirror>/<dataset>/<file>: put the file there, or unset HEADRACE_MIRROR to fetch it from its url"
        ) from error
