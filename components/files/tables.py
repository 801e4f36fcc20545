"""Files of one table: Parquet, and the CSV files that Headrace writes."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

_ROWS_PER_GROUP = 1 << 17
_GROUP_BYTES = 1 << 26

# Polars takes a path for a pattern unless `glob` says otherwise, and then reads `batch[1].parquet` as batch1.parquet.
# So the next three are the only ones that open a file with Polars.


def scan_files(source: Path | bytes | list[Path]) -> pl.LazyFrame:
    """Query over one Parquet file, its content, or several files, one after the other."""
    return pl.scan_parquet(source, glob=False, hive_partitioning=False)


def read_file(source: Path | bytes, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """All columns of a Parquet file, or of its content, or only some of them."""
    rows = scan_files(source)
    return (rows if columns is None else rows.select(columns)).collect()


def read_csv(path: Path) -> pl.DataFrame:
    """A CSV file that Headrace wrote; those of a user are read by `headrace.components.sources`."""
    return pl.read_csv(path, glob=False)


def read_metadata(file: Path) -> dict[str, str]:
    """The texts that a Parquet file holds beside its table, by key."""
    import pyarrow.parquet as pq

    found = pq.read_metadata(file).metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}


def parquet_settings(schema: pl.Schema) -> dict[str, Any]:
    """How a table is written. Encoded images become 3 % smaller by compression, and take twice as long."""
    if pl.Binary in schema.dtypes():
        return {"compression": "uncompressed", "row_group_size": _ROWS_PER_GROUP}
    # Level 1 is much faster than level 3, for little more room.
    return {"compression": "zstd", "compression_level": 1, "row_group_size": _ROWS_PER_GROUP}


def write_file(
    table: pl.DataFrame,
    file: Path | io.BytesIO,
    *,
    schema: pa.Schema | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a table as one Parquet file, or its content, with texts beside it by key; equal tables give equal bytes.

    With `schema`, the table must have its columns, and their types.
    """
    names = table.columns if schema is None else schema.names
    table.lazy().select(names).sink_parquet(
        file, **parquet_settings(table.schema), arrow_schema=schema, metadata=dict(metadata) if metadata else None
    )


def write_parts(parts: Iterable[pl.DataFrame], file: Path, *, metadata: Mapping[str, str] | None = None) -> int:
    """Write tables of one schema as one Parquet file as they come, with texts beside it by key; the number of rows.

    Memory holds one row group. There must be one table at least.
    """
    import pyarrow.parquet as pq

    rows = 0
    with ExitStack() as open_files:
        writer = None
        for group in _row_groups(parts):
            table: pa.Table = group.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                settings, texts = parquet_settings(group.schema), group.select(pl.col(pl.String)).columns
                schema = table.schema.with_metadata(dict(metadata)) if metadata else table.schema
                compression = {name: settings.get(name) for name in ("compression", "compression_level")}
                if compression["compression"] == "uncompressed":
                    compression["compression"] = "none"
                writer = open_files.enter_context(pq.ParquetWriter(file, schema, use_dictionary=texts, **compression))
            writer.write_table(table, row_group_size=group.height)
            rows += group.height
    return rows


def _row_groups(parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Tables joined until they have as many rows as a row group, or 64 MiB."""
    waiting: list[pl.DataFrame] = []
    for part in parts:
        waiting.append(part)
        has_rows = sum(one.height for one in waiting) >= _ROWS_PER_GROUP
        if has_rows or sum(one.estimated_size() for one in waiting) >= _GROUP_BYTES:
            yield pl.concat(waiting)
            waiting = []
    if waiting:
        yield pl.concat(waiting)
