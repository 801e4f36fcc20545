"""Downloads in attempts, each continuing where the last one broke off, also after the process has ended.

What was sent is never trusted to be whole: it has the length that was announced, of the one version that was begun.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import stamina
import structlog
from pydantic import ValidationError

from headrace.components.errors import DataError, ServiceError
from headrace.components.files.atomic import replace_file
from headrace.components.schema.settings import Settings
from headrace.components.sources.file import SourceFile
from headrace.pipelines.fetching.file_servers import REMEDY, Answer, Damaged, Interrupted, SendRequest, origin_of

_ATTEMPTS = 6  # in a row, without a byte more
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0

log = structlog.get_logger()


class Version(Settings):
    """Which content of a url a file has: what the server calls it and, once it is whole, its SHA-256."""

    url: str
    version: str | None
    etag: str | None
    last_modified: str | None
    sha256: str | None = None

    @property
    def validator(self) -> str | None:
        """A strong validator of the content: another content has another one (RFC 9110, 8.8)."""
        return self.etag or self.last_modified


def recall(note: Path, file: SourceFile) -> Version | None:
    """The version that a note names, None if there is no note or it is of another url."""
    try:
        version = Version.model_validate_json(note.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return version if (version.url, version.version) == (file.url, file.version) else None


def keep(note: Path, version: Version) -> None:
    """Write the note of a version."""
    with replace_file(note) as temporary:
        temporary.write_text(version.model_dump_json(), encoding="utf-8")


def download(file: SourceFile, part: Path, note: Path, *, have: Version | None) -> Version | None:
    """Download to `part`; the version it then holds, or None, with `part` untouched, if the server still has `have`.

    `part` and `note` stay after an error, and the next call continues with them. Raises ServiceError if the file can't
    be had in time, or is unpinned and of unknown length; DataError if it is larger than `max_bytes`.
    """
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    transfer = _Transfer(file, origin_of(file), part, note, have, time.monotonic() + file.timeout_seconds)
    while True:
        before = _size(part)
        try:
            return _attempts(transfer)
        except Interrupted as error:
            if transfer.seconds_left <= 0:
                seconds = f"{file.timeout_seconds:g} seconds"
                raise ServiceError(f"{file.url}: not complete after {seconds}. {REMEDY}") from error
            if _size(part) <= before:
                raise ServiceError(f"can't download {file.url}: {error}. {REMEDY}") from error


def too_large(file: SourceFile, origin: str) -> DataError:
    """The error of a file that has more than its `max_bytes`."""
    return DataError(
        f"{file.name} from {origin} has more than {file.max_bytes} bytes; "
        "if that is right, set max_bytes of this file in params.yaml"
    )


@dataclass(frozen=True)
class _Transfer:
    file: SourceFile
    send: SendRequest
    part: Path
    note: Path
    have: Version | None
    deadline: float

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()


def _attempts(transfer: _Transfer) -> Version | None:
    def may_pass(error: Exception) -> bool | float:
        if not isinstance(error, Interrupted) or transfer.seconds_left <= (error.retry_after or 0):
            return False
        return True if error.retry_after is None else error.retry_after

    remaining = max(transfer.seconds_left, 0.01)
    waits = {"wait_initial": min(_FIRST_WAIT_SECONDS, remaining), "wait_max": min(_LONGEST_WAIT_SECONDS, remaining)}
    return stamina.RetryingCaller(attempts=_ATTEMPTS, timeout=remaining, **waits)(may_pass, _attempt, transfer)


def _attempt(transfer: _Transfer) -> Version | None:
    """Request what `part` lacks and add it; raise Interrupted unless it is whole then."""
    file, part = transfer.file, transfer.part
    if transfer.seconds_left <= 0:
        raise Interrupted("no time left")
    begun = recall(transfer.note, file)
    start = _size(part) if begun and begun.sha256 is None and begun.validator else 0
    try:
        with transfer.send(_conditions(transfer.have, begun, start), transfer.seconds_left) as answer:
            if answer.status == 304 and transfer.have:
                return None
            if answer.status == 200:
                start, begun = 0, _version(file, answer.headers)
                part.unlink(missing_ok=True)
                keep(transfer.note, begun)
            elif not (begun and start and answer.status == 206 and _goes_on(answer.headers, begun, start)):
                part.unlink(missing_ok=True)
                raise Interrupted(f"the server can't continue from byte {start} (it answers {answer.status})")
            _write(transfer, answer.chunks, _announced(answer, file))
    except Damaged:
        part.unlink()
        raise
    return begun


def _conditions(have: Version | None, begun: Version | None, start: int) -> dict[str, str]:
    if begun and begun.validator and start:
        return {"range": f"bytes={start}-", "if-range": begun.validator}
    if have and have.etag:
        return {"if-none-match": have.etag}
    if have and have.last_modified:
        return {"if-modified-since": have.last_modified}
    return {}


def _version(file: SourceFile, headers: Mapping[str, str]) -> Version:
    """The server's validators of the content; weak ones, which may stay the same while bytes change, are left out."""
    etag, modified = headers.get("etag", ""), headers.get("last-modified")
    is_weak = not etag.startswith('"')
    return Version(
        url=file.url,
        version=file.version,
        etag=None if is_weak else etag,
        last_modified=None if modified == headers.get("date") else modified,  # it may change again within the second
    )


def _goes_on(headers: Mapping[str, str], begun: Version, start: int) -> bool:
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", ""))
    same = begun.etag is None or headers.get("etag") in (None, begun.etag)
    return found is not None and int(found[1]) == start <= int(found[2]) < int(found[3]) and same


def _announced(answer: Answer, file: SourceFile) -> int | None:
    """Size of the whole file in bytes, None if only its SHA-256 or the end mark of chunks shows that it is complete."""
    length = answer.headers.get("content-length")
    if answer.status == 206:
        length = answer.headers["content-range"].rpartition("/")[2]
    if length is None and not file.sha256 and "chunked" not in answer.headers.get("transfer-encoding", ""):
        raise ServiceError(
            f"{file.url}: the server does not say how long the file is, so a download that broke off is not noticed; "
            "put its SHA-256 into params.yaml"
        )
    return None if length is None else int(length)


def _write(transfer: _Transfer, chunks: Iterator[bytes], expected: int | None) -> None:
    file, size = transfer.file, _size(transfer.part)
    with transfer.part.open("ab") as stream:
        _require_size(expected or 0, file, stream)
        for chunk in chunks:
            size += len(chunk)
            _require_size(size, file, stream)
            stream.write(chunk)
            if transfer.seconds_left <= 0:
                raise Interrupted("no time left")
    if expected is not None and size != expected:
        raise Interrupted(f"the connection ended after {size} of {expected} bytes")


def _require_size(size: int, file: SourceFile, stream: BinaryIO) -> None:
    if size > file.max_bytes:
        stream.truncate(0)
        raise too_large(file, file.url)


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    log.warning("download failed, trying again", attempt=details.retry_num + 1, reason=str(details.caused_by))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
