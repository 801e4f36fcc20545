"""Files of rows: pinned ones, partitions, or all of a folder or bucket."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import model_validator

from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.settings import Settings
from headrace.components.sources.file import FileName, SourceFile
from headrace.components.sources.file_set import FileSet
from headrace.components.sources.partitions import Interval, Partitions
from headrace.components.sources.raw_files import CopiedFiles, FoundFiles, PartitionFiles, PinnedFiles, RawFiles
from headrace.components.sources.raw_part import GivenSplit
from headrace.components.sources.schema_checks import require_no_images
from headrace.components.sources.source import Block, Source, SourcePart


class TableSource(Source):
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

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for an image: a table has none."""
        require_no_images(schema, kind=self.kind)

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """The pinned files of each part, or the files that there are."""
        if self.partitions:
            return [PartitionFiles(self.partitions, self.interval)]
        if self.files:
            return [CopiedFiles(self.files, self.dataset)]
        return [PinnedFiles(files, self.dataset) for files in self.pinned]

    def is_by_interval(self, root: Path) -> bool:
        """Whether there are partitions."""
        return self.partitions is not None

    @property
    @abstractmethod
    def pinned(self) -> Sequence[tuple[SourceFile, ...]]:
        """The files of each of `parts`."""


class TablePart(Settings):
    """One file of rows, and the split that the source gives them."""

    file: SourceFile
    """The file to read."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class RowFileSource(TableSource):
    """Files of rows that are read one by one: a part is one file."""

    parts: tuple[TablePart, ...] = ()

    @property
    def how(self) -> str:
        """Words for all settings that the rows depend on: the format, if there are no others."""
        return self.kind

    @abstractmethod
    def blocks(self, file: Path, *, schema: ExampleSchema, given_split: GivenSplit | None) -> Iterable[Block]:
        """Rows of a file, in blocks; DataError for a damaged file."""

    @property
    def pinned(self) -> Sequence[tuple[SourceFile, ...]]:
        """The file of each part."""
        return [(part.file,) for part in self.parts]

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """A part for each file."""
        files = [file for one in found for file in one.paths]
        splits = [part.given_split for part in self.parts] or [None] * len(files)
        return [
            SourcePart(
                (file,),
                f"{self.how} {given_split}",
                partial(self.blocks, file, schema=schema, given_split=given_split),
            )
            for file, given_split in zip(files, splits, strict=True)
        ]
