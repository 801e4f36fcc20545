"""Buckets as the readers of tables reach them: who asks finds keys, endpoint and region, never an address's text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ADDRESS = r"s3://[a-z0-9][a-z0-9.-]+/[^?#]+(\?endpoint_url=https?://[^?#&@]+)?"


@dataclass(frozen=True)
class S3Access:
    """Endpoint, region and keys of a bucket."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


FindAccess = Callable[[str], S3Access]  # by the address of an object or folder, which may name an endpoint


def is_s3(address: str) -> bool:
    """Whether an address is that of something in a bucket."""
    return address.startswith("s3://")


def place_of(address: str) -> str:
    """The address without its endpoint: `s3://bucket/key`."""
    parts = urlsplit(address)
    return f"s3://{parts.netloc}{parts.path}"
