"""One file of a source: where it is fetched from, and how it is known to be the right one."""

from typing import Annotated, Literal, Self, cast

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Scheme = Literal["https", "http", "s3", "path"]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif")
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store")  # that file managers leave in folders


class SourceFile(Settings):
    """One file to fetch, or to take from `$HEADRACE_MIRROR/<dataset>/<name>`."""

    name: FileName
    """Name of the file in `data/<pipeline>/raw` and in `$HEADRACE_MIRROR/<dataset>`."""

    url: Annotated[str, Field(min_length=1)]
    """Where the file is fetched from: a path, absolute or relative to the project's root, or, unless `HEADRACE_MIRROR`
    is set, `https://...` or `s3://BUCKET/KEY` (any endpoint: `AWS_ENDPOINT_URL_S3`).
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Checksum that the content must have. Without it, each ingest checks whether the file has changed, and logs it."""

    version: Annotated[str, Field(min_length=1)] | None = None
    """Version id of an S3 object; `null` for the newest version."""

    anonymous: bool = False
    """Whether to ask S3 without credentials."""

    allow_http: bool = False
    """Allow a url that begins with `http://`, whose content anyone on the network path can change."""

    max_bytes: Annotated[int, Field(ge=1)] = 100 << 30
    """Largest size of the file; a larger one is refused."""

    timeout_seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = 6 * 3600.0
    """Limit of the whole download, with all attempts and waits."""

    @property
    def scheme(self) -> Scheme:
        """How the file is reached."""
        scheme, mark, _ = self.url.partition("://")
        return cast(Scheme, scheme) if mark else "path"

    @model_validator(mode="after")
    def _url_can_be_fetched(self) -> Self:
        if self.scheme not in ("https", "http", "s3", "path"):
            raise ValueError(f"url {self.url!r} must be https://HOST/..., s3://BUCKET/KEY, or a path of this machine")
        if self.scheme == "http" and not self.allow_http:
            raise ValueError(f"url {self.url!r}: anyone on the way can change it; use https, or set allow_http: true")
        if self.scheme != "http" and self.allow_http:
            raise ValueError("allow_http is for a url that begins with http://")
        if self.scheme != "s3" and (self.version is not None or self.anonymous):
            raise ValueError("version and anonymous are for a url that begins with s3://")
        if self.scheme != "path":
            self._require_place()
        return self

    def _require_place(self) -> None:
        host, _, key = self.url.partition("://")[2].partition("/")
        if not host or (self.scheme == "s3" and not key):
            raise ValueError(f"url {self.url!r} must be https://HOST/..., or s3://BUCKET/KEY")
        if "@" in host:  # it would be in git, and in logs
            raise ValueError("url must hold no user or password; make the file reachable without, or use a bucket")


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image; whether it is one is seen where it is decoded."""
    return name.lower().endswith(IMAGE_SUFFIXES)
