"""Apache Iceberg tables (https://iceberg.apache.org), by a snapshot, from a metadata file or a catalog in SQLite."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from headrace.components.errors import DataError, ParamsError, ServiceError, UserError
from headrace.components.sources.s3_access import FindAccess, S3Access, is_s3, place_of
from headrace.components.sources.table_versions import TablePath, TableVersionSource
from headrace.components.sources.written_rows import require_rows, write_rows

if TYPE_CHECKING:
    import pyarrow as pa


class IcebergSource(TableVersionSource):
    """All rows of one snapshot of an Iceberg table."""

    kind: Literal["iceberg"] = "iceberg"
    path: TablePath
    """A metadata file of the table (`....metadata.json`), or with `table` the SQLite file of a catalog: absolute, or
    relative to the project's root. A metadata file may be `s3://BUCKET/KEY`, with `?endpoint_url=https://...` where the
    bucket is not Amazon's; for tables in buckets that a catalog names, AWS_ENDPOINT_URL says so.
    """

    table: Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)+$")] | None = None
    """Name of the table in the catalog, with its namespace: `shop.orders`."""

    snapshot: Annotated[int, Field(ge=1)] | None = None
    """Id of the snapshot to read; `null` reads the current one, which `ingest.json` names."""

    @model_validator(mode="after")
    def _metadata_or_catalog(self) -> Self:
        place = place_of(self.path) if is_s3(self.path) else self.path
        if self.table is None and not place.endswith(".metadata.json"):
            raise ValueError("path must be a file ....metadata.json; set table for the SQLite file of a catalog")
        if self.table is not None and is_s3(self.path):
            raise ValueError(
                "path must be a file of this machine for a catalog in SQLite; for a bucket, name a file "
                "....metadata.json and leave table out"
            )
        return self

    def write(self, root: Path, find_access: FindAccess, file: Path, *, columns: Sequence[str]) -> str:
        """Write the rows of the snapshot as one Parquet file; returns the snapshot's id with the table's.

        Raises ParamsError for a table, snapshot or column that is not there, DataError for a damaged table and for rows
        that are not those of `sha256`, ServiceError for a bucket that can't be reached.
        """
        try:
            import pyiceberg  # noqa: F401
        except ImportError as error:
            raise ParamsError(
                "kind: iceberg needs a reader that is not installed: pip install 'headrace[iceberg]'"
            ) from error
        from pyarrow import ArrowException

        place = self.table or self.path
        if not is_s3(self.path) and not (root / self.path).is_file():
            raise ParamsError(f"ingest.source.path: no file {root / self.path}")
        with _damage_reported(place, is_remote=is_s3(self.path)):
            table = _opened(root, self.path, self.table, find_access)
            snapshot = table.snapshot_by_id(self.snapshot) if self.snapshot else table.current_snapshot()
        if snapshot is None:
            raise ParamsError(f"{place}: no snapshot{f' {self.snapshot}' if self.snapshot else ''}{_known(table)}")
        call = partial(_batches, table, snapshot.snapshot_id, columns, place)
        try:
            write_rows(call, file, place=place, max_bytes=self.max_bytes)
        except ArrowException as error:
            raise DataError(f"{place} can't be read: {' '.join(str(error).split())[:300]}") from error
        require_rows(file, self.sha256, place=place)
        return f"{snapshot.snapshot_id} of {table.metadata.table_uuid}"


def _opened(root: Path, path: str, name: str | None, find_access: FindAccess) -> Any:
    from headrace.components.sources.iceberg_files import static_table

    if is_s3(path):
        return static_table(place_of(path), place=place_of(path), properties=_properties(find_access(path)))
    location = str((root / path).absolute()) if name is None else _location(root / path, name)
    properties = _properties(find_access(location)) if is_s3(location) else {}
    return static_table(location, place=name or path, properties=properties)


def _properties(access: S3Access) -> dict[str, str]:
    """Properties of PyIceberg's files, read by Arrow."""
    keys = {
        "s3.endpoint": access.endpoint_url,
        "s3.region": access.region,
        "s3.access-key-id": access.access_key,
        "s3.secret-access-key": access.secret_key,
        "s3.session-token": access.session_token or "",
        "s3.connect-timeout": "10",
        "s3.request-timeout": "60",
    }
    return {name: value for name, value in keys.items() if value}


def _location(path: Path, name: str) -> str:
    """Address of a table's metadata file by the catalog."""
    import sqlite3  # loads a library, which nobody who only reads params.yaml needs

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
    return str(found[0][0])


def _known(table: Any) -> str:
    known = [str(one.snapshot_id) for one in table.snapshots()][-5:]
    return f"; the last ones are {', '.join(known)}" if known else ": the table is empty"


def _batches(table: Any, snapshot: int, columns: Sequence[str], place: str) -> "Iterator[pa.RecordBatch]":
    """Batches of some columns in the order of the files."""
    from headrace.components.sources.raw_part import require_columns

    with _damage_reported(place, is_remote=is_s3(table.metadata_location)):
        found = [field.name for field in table.scan(snapshot_id=snapshot).projection().fields]
        require_columns(columns, [found], files=place)
        wanted = tuple(dict.fromkeys(columns))
        yield from table.scan(snapshot_id=snapshot, selected_fields=wanted).to_arrow_batch_reader()


@contextmanager
def _damage_reported(place: str, *, is_remote: bool) -> Iterator[None]:
    """Make one error of what comes of a damaged table: JSON, Avro and Parquet are read by as many libraries."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        if is_remote and isinstance(error, FileNotFoundError):
            raise ParamsError(f"ingest.source.path: {place} is not there: {said}") from error
        if "AWS Error" in said:
            raise ServiceError(f"{place} can't be read: {said}") from error
        raise DataError(f"{place} can't be read: {said}") from error
