"""Sources that write all their rows to one Parquet file of data/<pipeline>/raw, which is then read as any other is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from headrace.components.errors import DataError
from headrace.components.files.digests import file_digest
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.raw_files import FoundFiles
from headrace.components.sources.schema_checks import require_no_images
from headrace.components.sources.source import Source, SourcePart

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_FILE = "rows.parquet"
MOST_BYTES = 100 << 30
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WrittenRowsSource(Source):
    """Rows of one Parquet file, `rows.parquet`."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for an image: a table has none."""
        require_no_images(schema, kind=self.kind)

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """The file as one part, read as any Parquet file is."""
        from headrace.components.sources.parquet.reader import parquet_blocks

        [files] = found
        [file] = files.paths
        return [SourcePart((file,), self.kind, partial(parquet_blocks, file, schema=schema))]


def write_rows(call: Callable[[], Any], file: Path, *, place: str, max_bytes: int | None = None) -> None:
    """Write the batches that a call gives as one file; raise DataError for more than `max_bytes` in Arrow's memory.

    Raises ParamsError and DataError as `tables_of` and `write_tables` do.
    """
    from headrace.components.sources.own_rows.arrow_batches import tables_of
    from headrace.components.sources.own_rows.writer import write_tables

    with tables_of(call, place=place) as tables:
        write_tables(_bounded(tables, max_bytes, place=place), file, place=place)


def require_rows(file: Path, sha256: str | None, *, place: str, fix: str = "") -> None:
    """Raise DataError unless the file is the one that `ingest.source.sha256` names."""
    if sha256 is None or (found := file_digest(file)) == sha256:
        return
    raise DataError(
        f"{place} gave other rows than ingest.source.sha256 names: expected {sha256}, found {found}; "
        f"write the new one there if these rows are right{fix}"
    )


def _bounded(tables: "Iterable[pa.Table]", max_bytes: int | None, *, place: str) -> "Iterator[pa.Table]":
    given_bytes = 0
    for table in tables:
        given_bytes += table.nbytes
        if max_bytes is not None and given_bytes > max_bytes:
            raise DataError(
                f"{place} gave more than {max_bytes} bytes of rows; ask for fewer, or set ingest.source.max_bytes"
            )
        yield table
