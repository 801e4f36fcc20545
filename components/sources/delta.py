"""Delta Lake tables (https://delta.io), by a version, through the reader of delta-rs (Rust)."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import Field

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.sources.s3_access import FindAccess, S3Access, is_s3, place_of
from headrace.components.sources.table_versions import TablePath, TableVersionSource, require_file_of_table
from headrace.components.sources.written_rows import require_rows, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

# A scheme, or what a reader of URIs leaves out or takes for a slash: a plain path of a file has it percent-encoded.
_NOT_IN_FOLDER = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:|[\\?#\x00-\x1f]")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # which delta-rs has in its errors


class DeltaSource(TableVersionSource):
    """All rows of one version of a Delta Lake table, also one with deletion vectors or column mapping."""

    kind: Literal["delta"] = "delta"
    path: TablePath
    """Folder of the table, that of `_delta_log`: absolute, or relative to the project's root; or `s3://BUCKET/PREFIX`,
    with `?endpoint_url=https://...` where the bucket is not Amazon's.
    """

    version: Annotated[int, Field(ge=0)] | None = None
    """Version to read; `null` reads the newest one, which `ingest.json` names."""

    def write(self, root: Path, find_access: FindAccess, file: Path, *, columns: Sequence[str]) -> str:
        """Write the rows of the version as one Parquet file; returns the version with the table's id.

        Raises ParamsError for a table, version or column that is not there, DataError for a damaged table and for rows
        that are not those of `sha256`, ServiceError for a bucket that can't be reached.
        """
        try:
            import deltalake
        except ImportError as error:
            raise ParamsError(
                "kind: delta needs a reader that is not installed: pip install 'headrace[delta]'"
            ) from error
        from pyarrow import ArrowException

        is_remote = is_s3(self.path)
        place = place_of(self.path) if is_remote else str(root / self.path)
        options = _storage_options(find_access(self.path)) if is_remote else None
        try:
            table = deltalake.DeltaTable(place, version=self.version, storage_options=options)
            _require_files(table, None if is_remote else root / self.path, place=self.path)
            write_rows(partial(_batches, table, columns, self.path), file, place=self.path, max_bytes=self.max_bytes)
        except deltalake.exceptions.TableNotFoundError as error:
            raise ParamsError(f"ingest.source.path: {place} is no Delta table: it has no _delta_log") from error
        except (deltalake.exceptions.DeltaError, ArrowException, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            said = " ".join(_COLOUR.sub("", str(error)).split())[:300]
            if is_remote and "Error performing" in said:
                raise ServiceError(f"{place} can't be read: {said}") from error
            version = "" if self.version is None else f", version {self.version}"
            raise DataError(f"{place if is_remote else self.path}{version}: {said}") from error
        require_rows(file, self.sha256, place=self.path)
        return f"{table.version()} of {table.metadata().id}"


def _require_files(table: Any, folder: Path | None, *, place: str) -> None:
    """Raise DataError for a file of the table that is not in its folder, as of a shallow clone; they are URIs.

    `folder` is None for a table in a bucket, where there are no links.
    """
    import pyarrow as pa

    from headrace.components.sources.parquet.reader import require_footer

    for uri in pa.table(table.get_add_actions(flatten=True))["path"].to_pylist():
        path = PurePosixPath(unquote(uri))
        if _NOT_IN_FOLDER.search(uri) or path.is_absolute() or ".." in path.parts:
            raise DataError(f"{place}: names a file outside of its folder: {uri!r}; copy the whole table into one")
        if folder is not None:
            require_file_of_table(folder / path, folder, place=place)
            try:
                require_footer(folder / path)
            except DataError as error:
                raise DataError(f"{place}: {error}") from error


def _storage_options(access: S3Access) -> dict[str, str]:
    """Options of delta-rs, whose names are those of the crate object_store."""
    keys = {
        "aws_access_key_id": access.access_key,
        "aws_secret_access_key": access.secret_key,
        "aws_session_token": access.session_token or "",
        "aws_region": access.region,
        "aws_endpoint": access.endpoint_url,
        "aws_virtual_hosted_style_request": "false",
        "allow_http": str(access.endpoint_url.startswith("http://")).lower(),
        "max_retries": "3",
        "retry_timeout": "60s",
    }
    return {name: value for name, value in keys.items() if value}


def _batches(table: Any, columns: Sequence[str], place: str) -> "Iterator[pa.RecordBatch]":
    """Batches of some columns; one thread reads, so their order is that of the files."""
    import pyarrow as pa
    from deltalake import QueryBuilder

    from headrace.components.sources.raw_part import require_columns

    require_columns(columns, [[field.name for field in table.schema().fields]], files=place)
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in dict.fromkeys(columns))
    engine = QueryBuilder().register("rows", table)
    engine.execute("SET datafusion.execution.target_partitions = 1").read_all()
    yield from pa.RecordBatchReader.from_stream(engine.execute(f"SELECT {quoted} FROM rows"))  # noqa: S608
