"""What ingest and predict ask of a source of raw data, whatever its kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.settings import Settings
from headrace.components.sources.other_files import OtherFiles
from headrace.components.sources.raw_files import FoundFiles, RawFiles
from headrace.components.sources.raw_part import GivenSplit, RawPart

if TYPE_CHECKING:
    import polars as pl

    from headrace.components.sources.table_file import TableFile

BLOCK_BYTES = 1 << 24  # longer ones cost more page faults than they save calls
LONGEST_ROW_BYTES = 1 << 24


class Block(Protocol):
    """Some rows of a source, and all that is needed to read them, also in another process."""

    def read(self, *, numbers: Collection[str] = ()) -> RawPart:
        """Rows as they are written, as String; as Float64 those of `numbers` if all of them can be.

        For a block that is to be decoded, only its other columns. Raises RowError for a row that can't be read.
        """


@runtime_checkable
class EncodedBlock(Block, Protocol):
    """Rows that have to be decoded: images."""

    def decode(self, schema: ExampleSchema) -> "tuple[RawPart, pl.DataFrame]":
        """Rows that can be used, and the others as `headrace.components.sources.rejected_rows.REJECTED` has them."""


@dataclass(frozen=True)
class SourcePart:
    """Files that are read together, and a reader of them.

    `how` has every setting that the rows depend on: sorted runs of equal files and `how` are not made again.
    """

    files: tuple[Path, ...]
    how: str
    read: Callable[[], Iterable[Block]]
    others: OtherFiles = field(default_factory=OtherFiles)  # counted while the part is read
    not_fetched: OtherFiles = field(default_factory=OtherFiles)  # counted before


class Source(Settings, ABC):
    """Raw data of one kind: its settings, the files that it needs, and how they are read."""

    kind: str
    table_suffixes: ClassVar[tuple[str, ...]] = ()  # of files of rows to predict that are of this kind

    @abstractmethod
    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for a column that the source can't fill."""

    @abstractmethod
    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """What data/<pipeline>/raw is to hold."""

    @abstractmethod
    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """Parts of the source, in order; `found` has the files for each element of `raw_files`.

        Raises DataError for files that can't be what they should be.
        """

    @classmethod
    def open_table(cls, path: Path, *, source: "Source", columns: Sequence[str]) -> "TableFile | None":
        """A file of rows to predict, read as `source` says if it is of this kind; None for a suffix of another one."""
        return None

    def is_by_interval(self, root: Path) -> bool:
        """Whether the rows are those of an interval of time; `root` is the project's folder."""
        return False

    @property
    def given_splits(self) -> set[GivenSplit]:
        """The splits that the source assigns to its rows; empty if the split is ours to make."""
        parts = getattr(self, "parts", ())
        return {part.given_split for part in parts if part.given_split}
