"""Where raw data comes from, one class per format."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.examples.settings import Moment
from headrace.components.settings import Settings
from headrace.components.sources.file import FileName, SourceFile
from headrace.components.sources.generated_settings import GeneratedSource

GivenSplit = Literal["train", "test"]
Root = Annotated[str, Field(pattern=r"^(s3:/)?/.")]


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

    root: Root
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
    _require_below_root(path, name=name)


def _require_below_root(path: str, *, name: str) -> None:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{name} {path!r} must be a path below root, as in date={{date}}/*.csv")
    if "**" in re.sub(r"(?<![^/])\*\*/", "", path):
        raise ValueError(f"{name} {path!r}: ** stands for whole folders only, as in **/*.csv")


class FileSet(Settings):
    """All files below a folder, or the prefix of a bucket, that fit `pattern`, in the order of their paths.

    A relative folder is one of the project's root, or `$HEADRACE_MIRROR/<dataset>` where that variable is set.
    `*` is any text without `/`, `**/` any number of folders; no name that begins with `.` or `_` fits either.
    """

    root: Annotated[str, Field(min_length=1)]
    pattern: str = "**/*"

    @model_validator(mode="after")
    def _pattern_is_a_path(self) -> Self:
        if re.match(r"(?!s3://.)\w+:", self.root):
            raise ValueError(f"root {self.root!r} must be a folder or s3://BUCKET/PREFIX")
        if re.search(r"[{}]", self.pattern):
            raise ValueError(f"pattern {self.pattern!r} has braces: only partitions have a {{date}}")
        _require_below_root(self.pattern, name="pattern")
        return self


class Interval(Settings):
    """From `start` until before `end`; a time without a zone is in UTC."""

    start: Moment
    end: Moment

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self


class TablePart(Settings):
    """One file of rows, and the split that the source gives them."""

    file: SourceFile
    given_split: GivenSplit | None = None


class TableSource(Settings):
    """Files of rows: pinned ones (`parts`), partitions, or all `files` of a folder or bucket.

    Of partitions, those are read that begin within `interval`; without an interval, all.
    """

    kind: str
    dataset: FileName
    parts: tuple[Settings, ...] = ()
    partitions: Partitions | None = None
    interval: Interval | None = None
    files: FileSet | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if [bool(self.parts), bool(self.partitions), bool(self.files)].count(True) != 1:
            raise ValueError(
                "give one of parts (pinned files), partitions (a landing folder or bucket) and files (all of a folder "
                "or bucket)"
            )
        if self.interval and not self.partitions:
            raise ValueError("an interval is one of partitions; other files have none")
        return self


class DelimitedSource(TableSource):
    """Delimited text (CSV, TSV), UTF-8, with one header line in every file."""

    kind: Literal["delimited"] = "delimited"
    parts: tuple[DelimitedPart, ...] = ()
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    null_values: tuple[str, ...] = ("",)


class ParquetSource(TableSource):
    """Parquet files; columns go by name, others are left out."""

    kind: Literal["parquet"] = "parquet"
    parts: tuple[TablePart, ...] = ()


class JsonLinesSource(TableSource):
    """One JSON object a line, UTF-8; a key that an object lacks is missing there, other keys are left out."""

    kind: Literal["json_lines"] = "json_lines"
    parts: tuple[TablePart, ...] = ()


class TextSource(TableSource):
    """Text files, UTF-8, cut into chunks of `length` + 1 characters that follow each other; neighbours share one.

    Each chunk is a row, with the columns text, file, position (of its first character) and passage: a number that
    `passage_chunks` chunks of a file share, so that `group: [file, passage]` holds out whole passages.
    """

    kind: Literal["text"] = "text"
    parts: tuple[TablePart, ...] = ()
    length: Annotated[int, Field(ge=1, le=65_536)]
    passage_chunks: Annotated[int, Field(ge=1, le=1_000_000)] = 50


class LabelsFile(SourceFile):
    """A delimited file, UTF-8 with a header line, of one row for each image.

    `name_column` has the image's path, its name, or its name without the suffix. The label, and key, group and time if
    they are asked for, are columns of it, too.
    """

    name_column: str = "file"
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","


class ImagePart(Settings):
    """Images, in archives (tar or zip) or below a folder, and the split that the source gives them.

    Without `labels`, an image's label is the name of the folder that it is in.
    """

    archives: tuple[SourceFile, ...] = ()
    files: FileSet | None = None
    labels: LabelsFile | None = None
    given_split: GivenSplit | None = None

    @model_validator(mode="after")
    def _archives_or_files(self) -> Self:
        if bool(self.archives) == bool(self.files):
            raise ValueError("give either archives (pinned files) or files (all of a folder or bucket)")
        return self


class ImageSource(Settings):
    """Images: JPEG, PNG, GIF (its first frame), BMP, WebP, TIFF (its first page) or AVIF, as their content says."""

    kind: Literal["images"] = "images"
    dataset: FileName
    parts: Annotated[tuple[ImagePart, ...], Field(min_length=1)]


class InlineSource(Settings):
    """A few rows that stand in params.yaml itself: values by the names of their columns."""

    kind: Literal["inline"] = "inline"
    rows: Annotated[tuple[dict[str, int | float | str | None], ...], Field(min_length=1, max_length=1000)]


def gives_split(source: "Source") -> bool:
    """Whether the source says which rows are for training and which for testing."""
    return any(part.given_split for part in getattr(source, "parts", ()))


Source = Annotated[
    BundledSource
    | InlineSource
    | GeneratedSource
    | IdxSource
    | DelimitedSource
    | ParquetSource
    | JsonLinesSource
    | TextSource
    | ImageSource,
    Field(discriminator="kind"),
]
