"""Rows that a query of a database gives: settings, and how they are written and read."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.partitions import Interval
from headrace.components.sources.raw_files import QueriedRows, RawFiles
from headrace.components.sources.sql.address import PostgresqlAddress, parsed_address
from headrace.components.sources.sql.query import Query, SqlFile
from headrace.components.sources.written_rows import (
    MOST_BYTES,
    ROWS_FILE,
    Sha256,
    WrittenRowsSource,
    require_rows,
    write_rows,
)

if TYPE_CHECKING:
    import pyarrow as pa


class SqlSource(WrittenRowsSource):
    """Rows that a query gives, from one snapshot of a PostgreSQL or SQLite database, which it can't change."""

    kind: Literal["sql"] = "sql"
    query: SqlFile
    """Path of a file in the project that has one SELECT. `:interval_start` and `:interval_end` in it are the interval's
    bounds.
    """

    connection: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]
    """Name of the database. Its address is in the environment variable `HEADRACE_CONNECTION_<NAME>`, in upper case, or
    in Airflow's connection of this name.
    """

    interval: Interval | None = None
    """The times that the query gets; `null` passes none. A scheduled DAG run sets its own data interval here, if the
    query names one of them.
    """

    timeout_seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = 6 * 3600.0
    """Limit of the whole query, until its last row."""

    max_bytes: Annotated[int, Field(ge=1)] = MOST_BYTES
    """Largest size of all rows in memory's format (Arrow's); a query that gives more is ended and refused."""

    sha256: Sha256 | None = None
    """Checksum that `data/<pipeline>/raw/rows.parquet` must have; other rows are refused. `ingest.json` has that of the
    last run. The order of rows counts, so the query needs an ORDER BY that leaves none open.
    """

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """One file of all rows."""
        return [QueriedRows(ROWS_FILE, self.connection, self.write)]

    def is_by_interval(self, root: Path) -> bool:
        """Whether the query names a bound of an interval."""
        return bool(self.read_query(root).parameters)

    def read_query(self, root: Path) -> Query:
        """The query of the project at `root`; raises ParamsError for a file that can't be it, or ignores the interval.

        A query that needs an interval is accepted without one, because a DAG run has its own.
        """
        query = Query.read(root, self.query)
        if self.interval and not query.parameters:
            raise ParamsError(
                f"{self.query}: names neither :interval_start nor :interval_end, but ingest.source.interval is set"
            )
        return query

    def write(self, root: Path, address: str, file: Path) -> None:
        """Run the query of the project at `root` in the database, and write its rows as one Parquet file.

        Raises ParamsError for an address, query or column that can't be, DataError for none or too many rows and for
        rows that are not those of `sha256`, and ServiceError for a database that can't be reached or is lost meanwhile.
        """
        query = self.read_query(root)
        if query.parameters and not self.interval:
            raise ParamsError(
                f"{self.query}: names :{query.parameters[0]}; set ingest.source.interval, which a scheduled DAG run "
                "does by itself"
            )
        call = partial(self._batches, query, address, root)
        write_rows(call, file, place=self.query, max_bytes=self.max_bytes)
        require_rows(
            file, self.sha256, place=self.query, fix=", and give the query an ORDER BY that leaves no order open"
        )

    def _batches(self, query: Query, address: str, root: Path) -> "Iterator[pa.Table]":
        place = parsed_address(address, connection=self.connection, root=root)
        bounds = {
            f"interval_{name}": moment for name, moment in (self.interval.model_dump() if self.interval else {}).items()
        }
        values = {name: bounds[name] for name in query.parameters}
        if isinstance(place, PostgresqlAddress):
            from headrace.components.sources.sql.postgresql import postgresql_tables

            return postgresql_tables(place, query, values, timeout_seconds=self.timeout_seconds, name=self.connection)
        from headrace.components.sources.sql.sqlite import sqlite_tables

        return sqlite_tables(place.file, query, values, timeout_seconds=self.timeout_seconds, name=self.connection)
