"""Files that a source needs in data/<pipeline>/raw, by where they come from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.components.sources.file import SourceFile
from headrace.components.sources.file_set import FileSet
from headrace.components.sources.other_files import OtherFiles
from headrace.components.sources.partitions import Interval, Partitions
from headrace.components.sources.s3_access import FindAccess


@dataclass(frozen=True)
class PinnedFiles:
    """Files by name, each from its url or from `$HEADRACE_MIRROR/<dataset>`."""

    files: tuple[SourceFile, ...]
    dataset: str


@dataclass(frozen=True)
class CopiedFiles:
    """All files of a set. A relative root is below the project's, or below `$HEADRACE_MIRROR/<dataset>`."""

    files: FileSet
    dataset: str


@dataclass(frozen=True)
class PackedImages:
    """All images of a set, packed: one Parquet file for each folder, whose name begins with `prefix`."""

    files: FileSet
    dataset: str
    prefix: str


@dataclass(frozen=True)
class PartitionFiles:
    """The files of the partitions of an interval; of all of them without one."""

    partitions: Partitions
    interval: Interval | None


@dataclass(frozen=True)
class MadeFile:
    """A file that is made from settings alone."""

    name: str
    write: Callable[[Path], object]


@dataclass(frozen=True)
class OwnRows:
    """A file that code of the project's own makes; `write` takes the project's folder and the file."""

    name: str
    write: Callable[[Path, Path], object]


@dataclass(frozen=True)
class TableRows:
    """A file of one version of a table, in a folder or a bucket.

    `write` takes the project's folder, what finds the keys of a bucket, and the file; it returns the version.
    """

    name: str
    write: Callable[[Path, FindAccess, Path], str]


@dataclass(frozen=True)
class QueriedRows:
    """A file of what a database gives; `write` takes the project's folder, the database's address and the file."""

    name: str
    connection: str
    write: Callable[[Path, str, Path], object]


RawFiles = PinnedFiles | CopiedFiles | PackedImages | PartitionFiles | MadeFile | OwnRows | TableRows | QueriedRows


@dataclass(frozen=True)
class FoundFiles:
    """The files in data/<pipeline>/raw, in order, and what lay among their originals and was left there."""

    paths: tuple[Path, ...]
    not_fetched: OtherFiles = field(default_factory=OtherFiles)
    version: str | None = None  # of the table that they are of
