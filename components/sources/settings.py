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
    """Name of the data set."""


class IdxPart(Settings):
    """A pair of idx files (images and labels of equal count), and the split that the source gives them."""

    images: SourceFile
    """File of the images."""

    labels: SourceFile
    """File of as many labels, 0 to 255."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class IdxSource(Settings):
    """Images in the idx format of MNIST (http://yann.lecun.com/exdb/mnist), plain or gzipped."""

    kind: Literal["idx"] = "idx"
    dataset: FileName
    """Folder of the files in `$HEADRACE_MIRROR`."""

    parts: Annotated[tuple[IdxPart, ...], Field(min_length=1)]
    """Pairs of files, one after the other."""


class DelimitedFile(SourceFile):
    """A delimited text file with one header line."""

    columns: tuple[str, ...] | None = None
    """Column names that replace those of the header line, as many as it has. The header line is skipped."""


class DelimitedPart(Settings):
    """Files that stand side by side (row i of each belongs together), and the split that the source gives them."""

    files: Annotated[tuple[DelimitedFile, ...], Field(min_length=1)]
    """Files side by side: row i of each belongs to the same example."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class Partitions(Settings):
    """A landing folder, or the prefix of a bucket, with a partition of one or more files per day or hour of UTC."""

    root: Root
    """The full path of a folder, or `s3://BUCKET/PREFIX`, with `?endpoint_url=...` for a server other than Amazon's."""

    pattern: str = "date={date}/*.csv"
    """The files of one partition below `root`. `{date}` is its day (`2026-11-20`, UTC), and an optional `{hour}` after
    it the hour (`00` to `23`). `*` is any text without `/`; it matches no name that begins with `.` or `_`.
    """

    success_file: str | None = None
    """The file below `root` that marks a partition as complete, such as `date={date}/_SUCCESS`."""

    allow_gaps: bool = False
    """Whether some partitions of an interval of several may be missing; never all."""

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

    A name that begins with `.` or `_` fits no `*`.
    """

    root: Annotated[str, Field(min_length=1)]
    """A folder or `s3://BUCKET/PREFIX`. A relative folder is below the project's root, or below
    `$HEADRACE_MIRROR/<dataset>` where that is set.
    """

    pattern: str = "**/*"
    """Which files below `root`: `*` is any text without `/`, `**/` any number of folders."""

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
    """Start of the interval, included. Without a zone, it is in UTC."""

    end: Moment
    """End of the interval, excluded. Without a zone, it is in UTC."""

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self


class TablePart(Settings):
    """One file of rows, and the split that the source gives them."""

    file: SourceFile
    """The file to read."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class TableSource(Settings):
    """Files of rows: pinned ones, partitions, or all of a folder or bucket."""

    kind: str
    """Format of the files."""

    dataset: FileName
    """Folder of the files in `$HEADRACE_MIRROR`."""

    parts: tuple[Settings, ...] = ()
    """Pinned files, one after the other."""

    partitions: Partitions | None = None
    """Where data arrives by the day or hour, instead of `parts`."""

    interval: Interval | None = None
    """Read only the partitions that begin within it; `null` reads all. A scheduled DAG run sets its own data interval
    here.
    """

    files: FileSet | None = None
    """All files of a folder or bucket, instead of `parts`."""

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
    """The character between two values."""

    null_values: tuple[str, ...] = ("",)
    """Texts that mean "missing"."""


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

    Each chunk is a row, with the columns text, file, position (of its first character) and passage (a number).
    """

    kind: Literal["text"] = "text"
    parts: tuple[TablePart, ...] = ()
    length: Annotated[int, Field(ge=1, le=65_536)]
    """Characters of a chunk that a model takes; backpropagation through time ends there."""

    passage_chunks: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Number of chunks of a file that form a passage: `group: [file, passage]` holds out whole passages."""


class LabelsFile(SourceFile):
    """A delimited file, UTF-8 with a header line, of one row for each image.

    The label, and key, group and time if they are given, are columns of it, too.
    """

    name_column: str = "file"
    """The column that names the image: its path in the archive, its name, or its name without the suffix."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values."""


class ImagePart(Settings):
    """Images, in archives (tar or zip) or below a folder, and the split that the source gives them."""

    archives: tuple[SourceFile, ...] = ()
    """Archives of images: tar (plain, gzip, bzip2, xz, zstd) or zip."""

    files: FileSet | None = None
    """All images of a folder or bucket, instead of `archives`. They are packed, one archive for each of its folders."""

    labels: LabelsFile | None = None
    """A table with the label of each image; `null` takes the name of the image's folder as its label."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """

    @model_validator(mode="after")
    def _archives_or_files(self) -> Self:
        if bool(self.archives) == bool(self.files):
            raise ValueError("give either archives (pinned files) or files (all of a folder or bucket)")
        return self


class ImageSource(Settings):
    """Images: JPEG, PNG, GIF (its first frame), BMP, WebP, TIFF (its first page) or AVIF, as their content says."""

    kind: Literal["images"] = "images"
    dataset: FileName
    """Folder of the files in `$HEADRACE_MIRROR`."""

    parts: Annotated[tuple[ImagePart, ...], Field(min_length=1)]
    """Sets of images, one after the other."""


class InlineSource(Settings):
    """A few rows that stand in params.yaml itself: values by the names of their columns."""

    kind: Literal["inline"] = "inline"
    rows: Annotated[tuple[dict[str, int | float | str | None], ...], Field(min_length=1, max_length=1000)]
    """The rows, each with a value for each column name."""


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
