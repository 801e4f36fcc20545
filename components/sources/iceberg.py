"""Apache Iceberg tables (https://iceberg.apache.org), by a snapshot, from a metadata file or a catalog in SQLite."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from headrace.components.errors import DataError, ParamsError
from headrace.components.sources.table_versions import LocalPath, TableVersionSource
from headrace.components.sources.written_rows import require_rows, write_rows

if TYPE_CHECKING:
    import pyarrow as pa


class IcebergSource(TableVersionSource):
    """All rows of one snapshot of an Iceberg table."""

    kind: Literal["iceberg"] = "iceberg"
    path: LocalPath
    """A metadata file of the table (`....metadata.json`), or with `table` the SQLite file of a catalog: absolute, or
    relative to the project's root.
    """

    table: Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)+$")] | None = None
    """Name of the table in the catalog, with its namespace: `shop.orders`."""

    snapshot: Annotated[int, Field(ge=1)] | None = None
    """Id of the snapshot to read; `null` reads the current one, which `ingest.json` names."""

    @model_validator(mode="after")
    def _metadata_or_catalog(self) -> Self:
        if self.table is None and not self.path.endswith(".metadata.json"):
            raise ValueError("path must be a file ....metadata.json; set table for the SQLite file of a catalog")
        return self

    def write(self, root: Path, file: Path, *, columns: Sequence[str]) -> str:
        """Write the rows of the snapshot as one Parquet file; returns the snapshot's id with the table's.

        Raises ParamsError for a table, snapshot or column that is not there, DataError for a damaged table and for rows
        that are not those of `sha256`.
        """
        try:
            import pyiceberg.exceptions
        except ImportError as error:
            raise ParamsError(
                "kind: iceberg needs a reader that is not installed: pip install 'headrace[iceberg]'"
            ) from error
        from pyarrow import ArrowException

        place = self.table or self.path
        if not (root / self.path).is_file():
            raise ParamsError(f"ingest.source.path: no file {root / self.path}")
        try:
            table = _opened(root / self.path, self.table)
            snapshot = table.snapshot_by_id(self.snapshot) if self.snapshot else table.current_snapshot()
            if snapshot is None:
                raise ParamsError(f"{place}: no snapshot{f' {self.snapshot}' if self.snapshot else ''}{_known(table)}")
            call = partial(_batches, table, snapshot.snapshot_id, columns, place)
            write_rows(call, file, place=place, max_bytes=self.max_bytes)
        except (OSError, ValueError, ArrowException, pyiceberg.exceptions.ValidationError) as error:
            raise DataError(f"{place} can't be read: {' '.join(str(error).split())[:300]}") from error
        require_rows(file, self.sha256, place=place)
        return f"{snapshot.snapshot_id} of {table.metadata.table_uuid}"


def _opened(path: Path, name: str | None) -> Any:
    import sqlite3  # loads a library, which nobody who only reads params.yaml needs

    from pyiceberg.table import StaticTable

    if name is None:
        return StaticTable.from_metadata(path.absolute().as_uri())
    # The catalog itself would create its tables in any file that it is given.
    namespace, _, table = name.rpartition(".")
    query = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(query, (namespace, table)).fetchall()
    except sqlite3.Error as error:
        raise ParamsError(f"ingest.source.path: {path} is no SQLite catalog of Iceberg ({error})") from error
    if len(found) != 1:
        raise ParamsError(f"ingest.source.table: {path} has {len(found) or 'no'} tables {name!r}, expected one")
    return StaticTable.from_metadata(found[0][0])


def _known(table: Any) -> str:
    known = [str(one.snapshot_id) for one in table.snapshots()][-5:]
    return f"; the last ones are {', '.join(known)}" if known else ": the table is empty"


def _batches(table: Any, snapshot: int, columns: Sequence[str], place: str) -> "Iterator[pa.RecordBatch]":
    """Batches of some columns in the order of the files."""
    from headrace.components.sources.raw_part import require_columns

    scan = table.scan(snapshot_id=snapshot)
    require_columns(columns, [[field.name for field in scan.projection().fields]], files=place)
    yield from table.scan(snapshot_id=snapshot, selected_fields=tuple(dict.fromkeys(columns))).to_arrow_batch_reader()
