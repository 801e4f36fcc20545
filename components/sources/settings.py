"""Where raw data comes from, one class per format."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from components.settings import Settings

GivenSplit = Literal["train", "test"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class SourceFile(Settings):
    """One file to fetch: over https, or from `$HEADRACE_MIRROR/<dataset>/<name>`; its SHA-256 is always checked."""

    name: FileName
    url: Annotated[str, Field(pattern=r"^https://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundledSource(Settings):
    """A data set that comes with scikit-learn: nothing to fetch."""

    kind: Literal["bundled"] = "bundled"
    dataset: Literal["digits"]


class IdxPart(Settings):
    """A pair of idx files (images and labels of equal count), and the split that the source gives them."""

    images: SourceFile
    labels: SourceFile
    given_split: GivenSplit | None = None


class IdxSource(Settings):
    """Images in the idx format of MNIST (http://yann.lecun.com/exdb/mnist), plain or gzipped."""

    kind: Literal["idx"] = "idx"
    dataset: FileName
    parts: Annotated[tuple[IdxPart, ...], Field(min_length=1)]


class DelimitedFile(SourceFile):
    """A delimited text file. With `columns`, its one header line is skipped and these names are used instead."""

    columns: tuple[str, ...] | None = None


class DelimitedPart(Settings):
    """Files that stand side by side (row i of each belongs together), and the split that the source gives them."""

    files: Annotated[tuple[DelimitedFile, ...], Field(min_length=1)]
    given_split: GivenSplit | None = None


class Partitions(Settings):
    """A landing folder, or the prefix of a bucket, with one partition per day or hour of UTC; each may be many files.

    `{date}` and `{hour}` in `pattern` say when a partition begins, as in `date={date}/hour={hour}/*.csv`. With
    `success_file`, a partition is there once that file is, such as `date={date}/_SUCCESS`.
    """

    root: Annotated[str, Field(pattern=r"^(s3:/)?/.")]
    pattern: str = "date={date}/*.csv"
    success_file: str | None = None
    allow_gaps: bool = False

    @property
    def is_hourly(self) -> bool:
        """Whether a partition is an hour, and not a day."""
        return "{hour}" in self.pattern

    @model_validator(mode="after")
    def _paths_say_when(self) -> Self:
        _require_path(self.pattern, name="pattern")
        if self.success_file is not None:
            _require_path(self.success_file, name="success_file")
            if "*" in self.success_file or self.is_hourly != ("{hour}" in self.success_file):
                raise ValueError(
                    f"success_file {self.success_file!r} must be one file of one partition: without *, and with the "
                    "placeholders of pattern, as in date={date}/_SUCCESS"
                )
        return self


def _require_path(path: str, *, name: str) -> None:
    """Raise ValueError unless the path says when a partition begins. Hour after date: so names sort as time goes on."""
    if re.findall(r"\{.*?\}|[{}]", path) not in (["{date}"], ["{date}", "{hour}"]):
        raise ValueError(f"{name} {path!r} must have {{date}} once, after it {{hour}} or not, and no other braces")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{name} {path!r} must be a path below root, as in date={{date}}/*.csv")


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class Interval(Settings):
    """From `start` until before `end`; a time without a zone is in UTC."""

    start: Annotated[datetime, AfterValidator(_in_utc)]
    end: Annotated[datetime, AfterValidator(_in_utc)]

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self


class DelimitedSource(Settings):
    """Delimited text (CSV, TSV), UTF-8, with one header line in every file: pinned files, or partitions.

    Of partitions, those are read that begin within `interval`; without an interval, all.
    """

    kind: Literal["delimited"] = "delimited"
    dataset: FileName
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    null_values: tuple[str, ...] = ("",)
    parts: tuple[DelimitedPart, ...] = ()
    partitions: Partitions | None = None
    interval: Interval | None = None

    @model_validator(mode="after")
    def _parts_or_partitions(self) -> Self:
        if bool(self.parts) == bool(self.partitions):
            raise ValueError("give either parts (pinned files) or partitions (a landing folder or bucket)")
        if self.interval and not self.partitions:
            raise ValueError("an interval is one of partitions; a source of pinned files has none")
        return self


Source = Annotated[BundledSource | IdxSource | DelimitedSource, Field(discriminator="kind")]
