"""Servers of files, over HTTP or as buckets of S3, with one interface: S3's API is HTTP's, with other names."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from headrace.components.errors import ServiceError
from headrace.components.sources.file import SourceFile

SILENCE_SECONDS = 30.0  # without a byte
_S3_CHUNK_BYTES = 1 << 16
# S3 has no If-Range: where If-Match fails, the answer is 412.
_S3_NAMES = {
    "range": "Range",
    "if-range": "IfMatch",
    "if-none-match": "IfNoneMatch",
    "if-modified-since": "IfModifiedSince",
}
REMEDY = "Check the url in params.yaml and the network, or set HEADRACE_MIRROR to a folder that has <dataset>/<file>"


@dataclass(frozen=True)
class Answer:
    """What a server answers. Names of headers are in lower case; chunks are as sent, not decoded."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Interrupted(Exception):  # noqa: N818
    """The network failed, or the server can't answer just now: another attempt may help, after so many seconds."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Damaged(Interrupted):
    """What arrived is not what the server has: another attempt may help, and must start over."""


SendRequest = Callable[[Mapping[str, str], float], AbstractContextManager[Answer]]


def origin_of(file: SourceFile) -> SendRequest:
    """Create a function that sends one request to the file's server, given headers and the seconds that remain.

    It raises Interrupted where another attempt may help, else ServiceError; so does reading the chunks.
    """
    if file.scheme == "s3":
        client = _s3_client(anonymous=file.anonymous, timeout=min(SILENCE_SECONDS, file.timeout_seconds))
        return lambda headers, _: _request_s3(client, file, headers)
    return lambda headers, seconds: _request_http(file, headers, seconds)


@contextmanager
def _request_http(file: SourceFile, headers: Mapping[str, str], seconds: float) -> Iterator[Answer]:
    def require_https(request: httpx.Request) -> None:
        if request.url.scheme != "https" and file.scheme == "https":
            raise ServiceError(f"{file.url} leads on to {request.url}, which is not https: anyone could change it")

    # "identity": a server that compresses on the way would give other bytes than those of the checksum.
    headers = {"accept-encoding": "identity", **headers}
    hooks = {"request": [require_https]}
    timeout = min(SILENCE_SECONDS, seconds)
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=True, event_hooks=hooks) as client,
            _closed_after(client, seconds),
            client.stream("GET", file.url, headers=headers) as response,
        ):
            yield _checked(file, Answer(response.status_code, response.headers, response.iter_raw()))
    except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ServiceError(f"can't download {file.url}: {error}. {REMEDY}") from error
    except httpx.TransportError as error:
        raise Interrupted(str(error) or type(error).__name__) from error


@contextmanager
def _closed_after(client: httpx.Client, seconds: float) -> Iterator[None]:
    """Close the client when time is up: httpx limits each wait only, and a server may send a header byte by byte."""
    timer = threading.Timer(seconds, client.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    except RuntimeError as error:  # what httpx makes of a request after that
        if client.is_closed:
            raise Interrupted("no time left") from error
        raise
    finally:
        timer.cancel()


@contextmanager
def _request_s3(client: Any, file: SourceFile, headers: Mapping[str, str]) -> Iterator[Answer]:
    from botocore import exceptions

    may_pass = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)
    try:
        reply = _get_object(client, file, headers)
        described = reply["ResponseMetadata"]
        with closing(reply["Body"]) as body:
            chunks = iter(lambda: body.read(_S3_CHUNK_BYTES), b"")
            yield _checked(file, Answer(described["HTTPStatusCode"], described["HTTPHeaders"], chunks))
    except exceptions.FlexibleChecksumError as error:
        raise Damaged(str(error)) from error
    except may_pass as error:
        raise Interrupted(" ".join(str(error).split())) from error
    except exceptions.BotoCoreError as error:
        reason = " ".join(str(error).split())
        raise ServiceError(f"can't download {file.url}: {reason}. Set keys of access, or anonymous: true") from error


def _get_object(client: Any, file: SourceFile, headers: Mapping[str, str]) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    bucket, _, key = file.url.removeprefix("s3://").partition("/")
    request = {"Bucket": bucket, "Key": key} | {_S3_NAMES[name]: value for name, value in headers.items()}
    if file.version is not None:
        request["VersionId"] = file.version
    try:
        return dict(client.get_object(**request))
    except ClientError as error:  # an answer, too
        return {**error.response, "Body": io.BytesIO()}


def _s3_client(*, anonymous: bool, timeout: float) -> Any:
    """A client that compares the checksums S3 has, and makes no further attempts of its own."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        signature_version=UNSIGNED if anonymous else None,
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"total_max_attempts": 1},
        response_checksum_validation="when_supported",
    )
    return boto3.session.Session().client("s3", config=config)  # boto3's own one keeps the first keys of access it saw


def _checked(file: SourceFile, answer: Answer) -> Answer:
    """An answer with the file, without a newer one (304), or that can't continue (412, 416); raise for any other."""
    if answer.status in (200, 206, 304, 412, 416):
        return answer
    said = f"{file.url}: the server answers {answer.status} {httpx.codes.get_reason_phrase(answer.status)}"
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise Interrupted(said, retry_after=_seconds(answer.headers.get("retry-after")))
    raise ServiceError(f"{said}. {REMEDY}")


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header, which has seconds or a date (RFC 9110, 10.2.3); None if neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
