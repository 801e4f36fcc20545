"""Storage that every node reaches: a shared folder or a bucket. What is published there is whole, or not there at all.

`s3://bucket/prefix` (with `?endpoint_url=https://...` where it is not Amazon's) or the path of a folder. Keys of access
come from the environment or from boto3's own files, never from the address.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.files.atomic import replace_file
from headrace.components.files.regular_files import open_regular, require_regular

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
ATTEMPTS = 5
# By S3's code, or botocore's class where no answer came: what a user has to do.
_REMEDIES = {
    "NoCredentialsError": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, both",
    "InvalidAccessKeyId": "there is no such key: fix AWS_ACCESS_KEY_ID, or choose another AWS_PROFILE",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not that of AWS_ACCESS_KEY_ID: fix it",
    "ExpiredToken": "the keys have expired: log in again (aws sso login), or set new AWS_* variables",
    "InvalidToken": "AWS_SESSION_TOKEN is not that of the keys: log in again, or unset it",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it (timedatectl set-ntp true)",
    "NoSuchBucket": "there is no such bucket: fix its name in the address, or make it",
    "AccessDenied": "these keys need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there",
    "PermanentRedirect": "the bucket is in another region: set AWS_DEFAULT_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_DEFAULT_REGION to it",
    "EndpointConnectionError": "see that the server is up and that endpoint_url in the address is right",
    "ConnectTimeoutError": "see that the server is up and that endpoint_url in the address is right",
}
_AWAY = (429, 500, 502, 503, 504)  # of HTTP: the server is busy, or not well
_AWAY_NUMBERS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO)
_CLOCK_TICK_NS = 1_000_000_000  # of any file system's clock


class AwayError(ServiceError):
    """The storage does not answer, or says that it can't now: it may soon."""


class Storage(Protocol):
    """Objects by key, such as `trainings/digits-0123456789ab/results/manifest.json`; an object appears whole."""

    def upload(self, key: str, file: Path) -> None:
        """Make `key` hold what `file` holds."""

    def download(self, key: str, file: Path) -> bool:
        """Write the object to `file` and return True; False, writing nothing, where there is none."""

    def read(self, key: str) -> bytes | None:
        """The object's content; None where there is none."""

    def create(self, key: str, content: bytes) -> bool:
        """Write an object that is not there yet and return True; False where it is, and stays what it is."""

    def keys(self, prefix: str) -> list[str]:
        """Keys that start with `prefix`, sorted."""

    def versions(self, prefix: str) -> dict[str, str | None]:
        """`keys`, each with a text that is another one for other content; None where no such text is known."""

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""


def open_storage(address: str) -> Storage:
    """Open the storage at an address; raise ParamsError for an address of another kind."""
    parts = urlsplit(address)
    if parts.scheme == "s3" and parts.netloc:
        endpoint = parse_qs(parts.query).get("endpoint_url", [None])[0]
        return _Bucket(parts.netloc, parts.path.strip("/"), endpoint)
    if parts.scheme in ("", "file") and parts.path.startswith("/"):
        return _Folder(Path(parts.path))
    raise ParamsError(f"storage is at s3://BUCKET/PREFIX or in a folder's full path; found {address!r}")


@dataclass(frozen=True)
class _Folder:
    root: Path

    def upload(self, key: str, file: Path) -> None:
        with _reaching(f"write {key} in {self.root}"), replace_file(self.root / key) as temporary:
            shutil.copyfile(file, temporary)

    def download(self, key: str, file: Path) -> bool:
        with _reaching(f"read {key} in {self.root}"):
            try:
                require_regular(self.root / key)
                shutil.copyfile(self.root / key, file)
            except FileNotFoundError:
                return False
        return True

    def read(self, key: str) -> bytes | None:
        try:  # with less around it than elsewhere, because small files are read by the ten thousand
            with open(f"{self.root}/{key}", "rb", buffering=0, opener=open_regular) as file:
                return file.readall()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreachable(f"read {key} in {self.root}", error) from error

    def create(self, key: str, content: bytes) -> bool:
        target = self.root / key
        with _reaching(f"write {key} in {self.root}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".") as temporary:
                temporary.write(content)
                temporary.flush()
                Path(temporary.name).chmod(0o644)  # other nodes may have another user
                try:
                    target.hardlink_to(temporary.name)  # unlike a rename, it fails where there is one
                except FileExistsError:
                    return False
        return True

    def keys(self, prefix: str) -> list[str]:
        with _reaching(f"list {self.root}/{prefix}"):
            return sorted(key for key, _ in self._files(prefix))

    def versions(self, prefix: str) -> dict[str, str | None]:
        with _reaching(f"list {self.root}/{prefix}"):
            return {key: _version(found) for key, found in sorted(self._files(prefix))}

    def _files(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        folder, root = self.root / prefix.rpartition("/")[0], f"{self.root}/"
        for place, names in _folders(folder):
            for name in names:
                key = f"{place}/{name}".removeprefix(root)
                if name[0] != "." and key.startswith(prefix):
                    with suppress(FileNotFoundError):  # a link to nothing, or just removed
                        found = os.stat(root + key)  # noqa: PTH116 - faster
                        yield key, found  # what is no file is refused where it is read, not left out unsaid

    def remove(self, key: str) -> None:
        with _reaching(f"remove {key} in {self.root}"):
            (self.root / key).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Bucket:
    bucket: str
    prefix: str
    endpoint_url: str | None

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        retries: Any = {"max_attempts": ATTEMPTS, "mode": "standard"}
        config = Config(connect_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=READ_TIMEOUT_SECONDS, retries=retries)
        return boto3.client("s3", endpoint_url=self.endpoint_url, config=config)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._full(key)}

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def upload(self, key: str, file: Path) -> None:
        with _reaching(f"write {key} in s3://{self.bucket}"):
            self._client.upload_file(str(file), self.bucket, self._full(key))

    def download(self, key: str, file: Path) -> bool:
        with _reaching(f"read {key} in s3://{self.bucket}"):
            try:
                self._client.download_file(self.bucket, self._full(key), str(file))
            except Exception as error:
                if _code(error) in ("404", "NoSuchKey"):
                    return False
                raise
        return True

    def read(self, key: str) -> bytes | None:
        with _reaching(f"read {key} in s3://{self.bucket}"):
            try:
                content: bytes = self._client.get_object(**self._place(key))["Body"].read()
            except Exception as error:
                if _code(error) in ("404", "NoSuchKey"):
                    return None
                raise
        return content

    def create(self, key: str, content: bytes) -> bool:
        with _reaching(f"write {key} in s3://{self.bucket}"):
            try:
                self._client.put_object(**self._place(key), Body=content, IfNoneMatch="*")
            except Exception as error:
                if _code(error) in ("412", "PreconditionFailed"):
                    return False
                raise
        return True

    def keys(self, prefix: str) -> list[str]:
        return list(self.versions(prefix))

    def versions(self, prefix: str) -> dict[str, str | None]:
        with _reaching(f"list {prefix} in s3://{self.bucket}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._full(prefix)
            )
            found = {entry["Key"]: entry.get("ETag") for page in pages for entry in page.get("Contents", ())}
        return {key.removeprefix(f"{self.prefix}/") if self.prefix else key: found[key] for key in sorted(found)}

    def remove(self, key: str) -> None:
        with _reaching(f"remove {key} in s3://{self.bucket}"):
            self._client.delete_object(**self._place(key))


def _folders(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders with their files' names, also behind links; a link to a folder that it is in is passed over.

    Not by Path.rglob, which is far slower where there are many files.
    """
    links: dict[str, frozenset[str]] = {str(top): frozenset()}  # real places of the links on the way to a folder
    for place, folders, names in os.walk(top, onerror=_raise_unless_absent, followlinks=True):
        above = links.pop(place)
        yield place, names
        for name in list(folders):
            path, on_the_way = os.path.join(place, name), above  # noqa: PTH118 - as os.walk writes it
            if Path(path).is_symlink():
                real = os.path.realpath(path)
                on_the_way = above | {real}
                if any(Path(one).is_relative_to(real) for one in (*above, os.path.realpath(place))):
                    folders.remove(name)
            links[path] = on_the_way


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error  # os.walk would leave out what is in a folder that can't be read


def _version(found: os.stat_result) -> str | None:
    """A text for this content of a file; None just after a change, since another could go unnoticed."""
    is_settled = time.time_ns() - found.st_ctime_ns > _CLOCK_TICK_NS
    return f"{found.st_size} {found.st_ino} {found.st_ctime_ns}" if is_settled else None


def _code(error: Exception) -> str:
    """The error's code by S3, "" for an error that is no answer."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError, OSError) as error:
        raise _unreachable(what, error) from error


def _unreachable(what: str, error: Exception) -> ServiceError:
    remedy = _REMEDIES.get(_code(error) or type(error).__name__)
    kind = AwayError if _is_away(error) else ServiceError
    return kind(f"storage can't {what}: {' '.join(str(error).split())}{f'; {remedy}' if remedy else ''}")


def _is_away(error: Exception) -> bool:
    from boto3.exceptions import RetriesExceededError
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _AWAY
    if isinstance(error, OSError):
        return error.errno in _AWAY_NUMBERS
    return isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | RetriesExceededError)
