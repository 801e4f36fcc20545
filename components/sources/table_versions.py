"""Sources that read one version of a table which keeps its earlier ones."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.raw_files import RawFiles, TableRows
from headrace.components.sources.s3_access import ADDRESS, FindAccess
from headrace.components.sources.written_rows import MOST_BYTES, ROWS_FILE, Sha256, WrittenRowsSource

TablePath = Annotated[str, Field(min_length=1, pattern=rf"^([^:]+|{ADDRESS})$")]


class TableVersionSource(WrittenRowsSource):
    """All rows of one version of a table, as the columns that the schema needs."""

    max_bytes: Annotated[int, Field(ge=1)] = MOST_BYTES
    """Largest size of all rows in memory's format (Arrow's); a larger table is refused."""

    sha256: Sha256 | None = None
    """Checksum that `data/<pipeline>/raw/rows.parquet` must have; other rows are refused. `ingest.json` has that of the
    last run.
    """

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """One file of the columns that are needed."""
        return [TableRows(ROWS_FILE, partial(self.write, columns=schema.source_columns))]

    @abstractmethod
    def write(self, root: Path, find_access: FindAccess, file: Path, *, columns: Sequence[str]) -> str:
        """Write the rows as one Parquet file; returns the version that was read, with the table's id."""


def require_file_of_table(file: Path, folder: Path, *, place: str) -> None:
    """Raise DataError unless a file that a table names is there, in the table's folder, also by its links.

    Who writes a table's metadata could otherwise have any file of this machine read, or a pipe waited for.
    """
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{place}: names a file outside of its folder {folder}: {str(file)!r}; copy the whole table into one"
        )
    if not file.is_file():
        found = "something else" if file.exists() else "nothing"
        raise DataError(f"{place}: expected a regular file, found {found}: {str(file)!r}")
