"""A file of rows to predict, read by the very reader that ingest has for its format."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import RowSchema
from headrace.components.sources.source import Block

if TYPE_CHECKING:
    import polars as pl

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")  # what a file holds says how it is compressed, not its name


@dataclass(frozen=True)
class TableFile(ABC):
    """A file, and how it is written; `replaced_by` has the names that are taken in place of its header's."""

    path: Path
    replaced_by: tuple[str, ...] | None = None

    @abstractmethod
    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that are columns of the file."""

    @abstractmethod
    def blocks(self, schema: RowSchema) -> Iterable[Block]:
        """Rows in blocks; DataError for a damaged file, a missing column, and where there are none."""

    def nested_blocks(self, columns: Sequence[str]) -> "Iterable[pl.DataFrame]":
        """These columns in blocks, whose values may be lists, such as pixels; ParamsError for a format of text.

        Raises DataError for a damaged file, and for a column that is missing.
        """
        raise ParamsError("expected one image a row: an image file, a folder of them, .parquet or .jsonl")


def suffix_of(path: Path) -> str:
    """Suffix of a file's name in lower case, without that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
