"""Where raw data comes from, one class per format."""

from typing import Annotated, Literal

from pydantic import Field

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


class DelimitedSource(Settings):
    """Delimited text (CSV, TSV), UTF-8, with one header line in every file."""

    kind: Literal["delimited"] = "delimited"
    dataset: FileName
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    null_values: tuple[str, ...] = ("",)
    parts: Annotated[tuple[DelimitedPart, ...], Field(min_length=1)]


Source = Annotated[BundledSource | IdxSource | DelimitedSource, Field(discriminator="kind")]
