"""Reads a version of a Delta table, as a process of its own: JSON of a job in, JSON of what came of it out."""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pydantic import Field

from headrace.components.errors import DataError, ParamsError, ServiceError, UserError
from headrace.components.schema.settings import Settings
from headrace.components.sources.table_versions import require_file_of_table
from headrace.components.sources.written_rows import write_rows

if TYPE_CHECKING:
    import pyarrow as pa

# A scheme, or what a reader of URIs leaves out or takes for a slash: a plain path of a file has it percent-encoded.
_NOT_IN_FOLDER = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:|[\\?#\x00-\x1f]")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # which delta-rs has in its errors


class DeltaJob(Settings):
    """What to read: a table by its folder or address, named as in params.yaml, and where its rows are written."""

    table: str
    name: str
    version: int | None
    options: dict[str, str] | None = Field(repr=False)
    columns: tuple[str, ...]
    file: str
    max_bytes: int


class DeltaOutcome(Settings):
    """The version with the table's id as `message`, or the error that ended the reading."""

    message: str
    error: str | None = None
    errno: int | None = None
    file: str | None = None


def read_delta(job: DeltaJob) -> str:
    """Write the rows as one Parquet file; returns the version with the table's id. Raises what `DeltaSource` does."""
    import deltalake
    from pyarrow import ArrowException

    is_remote = job.options is not None
    try:
        table = deltalake.DeltaTable(job.table, version=job.version, storage_options=job.options)
        _require_files(table, None if is_remote else Path(job.table), place=job.name)
        call = partial(_batches, table, job.columns, job.name)
        write_rows(call, Path(job.file), place=job.name, max_bytes=job.max_bytes)
    except deltalake.exceptions.TableNotFoundError as error:
        raise ParamsError(f"ingest.source.path: {job.table} is no Delta table: it has no _delta_log") from error
    except (deltalake.exceptions.DeltaError, ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        said = " ".join(_COLOUR.sub("", str(error)).split())[:300]
        if is_remote and "Error performing" in said:
            raise ServiceError(f"{job.table} can't be read: {said}") from error
        version = "" if job.version is None else f", version {job.version}"
        raise DataError(f"{job.table if is_remote else job.name}{version}: {said}") from error
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


def main() -> None:
    """Read the job that standard input gives."""
    job = DeltaJob.model_validate_json(sys.stdin.read())
    try:
        outcome = DeltaOutcome(message=read_delta(job))
    except (UserError, MemoryError) as error:
        kind = next(kind for kind in (ServiceError, ParamsError, MemoryError, DataError) if isinstance(error, kind))
        outcome = DeltaOutcome(message=str(error), error=kind.__name__)
    except OSError as error:
        outcome = DeltaOutcome(message=error.strerror or str(error), errno=error.errno, file=error.filename)
    sys.stdout.write(f"{outcome.model_dump_json()}\n")


if __name__ == "__main__":
    main()
