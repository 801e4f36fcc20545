"""Files from the network or from a mirror folder: checked, and there whole or not at all."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import stamina
import structlog

from components.errors import DataError, ServiceError
from components.sources.settings import SourceFile
from pipelines.storage.atomic import replace_file

_CHUNK_BYTES = 1 << 20
_SILENCE_SECONDS = 30.0  # without a byte
_DOWNLOAD_SECONDS = 3600.0  # for one whole file, however slowly it trickles
_ATTEMPTS = 5

log = structlog.get_logger()


def fetch(file: SourceFile, *, dataset: str, folder: Path) -> Path:
    """Return where the file is in `folder`, after fetching it unless it is there already with the right SHA-256.

    It comes from `$HEADRACE_MIRROR/<dataset>/<name>` if that variable is set, else from its url. Raises ServiceError if
    it can't be had, DataError if its SHA-256 is not the one in params.yaml; then nothing is left in `folder`.
    """
    target = folder / file.name
    if target.is_file() and sha256_of(target) == file.sha256:
        return target
    with replace_file(target) as temporary:
        if mirror := os.environ.get("HEADRACE_MIRROR"):
            origin = str(Path(mirror) / dataset / file.name)
            _copy(Path(origin), temporary)
        else:
            origin = file.url
            _download(origin, temporary)
        _check(temporary, file, origin)
    return target


def _check(path: Path, file: SourceFile, origin: str) -> None:
    found = sha256_of(path)
    if found != file.sha256:
        raise DataError(
            f"{file.name} from {origin} has another SHA-256 than params.yaml says: expected {file.sha256}, "
            f"found {found} ({path.stat().st_size} bytes). If the file was meant to change, "
            "put the new SHA-256 into params.yaml; else it was damaged on the way or replaced: find a good copy"
        )


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as stream:
            _write(target, iter(lambda: stream.read(_CHUNK_BYTES), b""))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise ServiceError(
            f"can't read {source}: {error.strerror}. HEADRACE_MIRROR is set, so files are looked up as "
            "<mirror>/<dataset>/<file>: put the file there, or unset HEADRACE_MIRROR to download it"
        ) from error


def _download(url: str, target: Path) -> None:
    """Download, with up to five attempts where another attempt may help."""
    stamina.instrumentation.set_on_retry_hooks([_tell])
    try:
        for attempt in stamina.retry_context(on=_may_pass, attempts=_ATTEMPTS, timeout=_DOWNLOAD_SECONDS):
            with attempt:
                _download_once(url, target)
    except httpx.HTTPStatusError as error:
        raise ServiceError(f"{url}: the server answers {_status(error)}. {_MENDS}") from error
    except (httpx.TransportError, httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise ServiceError(f"can't download {url}: {error or type(error).__name__}. {_MENDS}") from error


_MENDS = "Check the url in params.yaml and the network, or set HEADRACE_MIRROR to a folder that has <dataset>/<file>"


def _download_once(url: str, target: Path) -> None:
    # "identity": a server that compresses on the way would give other bytes than those of the checksum.
    headers = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=headers, timeout=_SILENCE_SECONDS, follow_redirects=True) as response:
        response.raise_for_status()
        _write(target, _until_late(response.iter_raw(), url))


def _until_late(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    deadline = time.monotonic() + _DOWNLOAD_SECONDS
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise ServiceError(f"{url}: not complete after {_DOWNLOAD_SECONDS:.0f} seconds. {_MENDS}")
        yield chunk


def _tell(details: stamina.instrumentation.RetryDetails) -> None:
    log.warning("download failed, trying again", attempt=details.retry_num + 1, reason=str(details.caused_by))


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may help: the network failed, or the server says that it can't just now."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _status(error: httpx.HTTPStatusError) -> str:
    return f"{error.response.status_code} {error.response.reason_phrase}".strip()


def _write(target: Path, chunks: Iterator[bytes]) -> None:
    with target.open("wb") as stream:
        for chunk in chunks:
            stream.write(chunk)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
