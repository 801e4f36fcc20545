"""Tables of examples on disk: a few large Parquet files in a folder."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa

from headrace.components.errors import DataError
from headrace.components.files.digests import file_digest
from headrace.components.files.tables import parquet_settings, scan_files
from headrace.components.schema.features import Feature

SHARD_BYTES = 1 << 27


def files(folder: Path) -> list[Path]:
    """Return a folder's Parquet files by name; raise DataError if there are none."""
    found = sorted(folder.glob("*.parquet"))
    if not found:
        raise DataError(f"no Parquet files in {folder}: run the stage that writes it")
    return found


def scan(*folders: Path) -> pl.LazyFrame:
    """Return the table in some folders' Parquet files, in the order of their names; raise DataError if one has none."""
    return scan_files([file for folder in folders for file in files(folder)])


def write(
    frame: pl.LazyFrame | pl.DataFrame, folder: Path, *, rows_per_file: int = 1 << 20, schema: pa.Schema | None = None
) -> None:
    """Write part-00000.parquet, part-00001.parquet, ..., row order kept; equal tables give equal bytes.

    A LazyFrame is streamed, so it may be larger than memory. An empty table gives one file without rows. With `schema`,
    the table must have exactly its columns and types.
    """
    sink(frame, folder, rows_per_file=rows_per_file, schema=schema).collect(engine="streaming")


def sink(
    frame: pl.LazyFrame | pl.DataFrame, folder: Path, *, rows_per_file: int = 1 << 20, schema: pa.Schema | None = None
) -> pl.LazyFrame:
    """Return a query that does what `write` does; queries collected together read what they share only once."""
    folder.mkdir(parents=True, exist_ok=True)
    target = pl.PartitionBy(
        folder,
        file_path_provider=lambda file: f"part-{file.index_in_partition:05d}.parquet",
        max_rows_per_file=rows_per_file,
    )
    query = frame.lazy()
    return query.sink_parquet(target, **parquet_settings(query.collect_schema()), arrow_schema=schema, lazy=True)


def file_name(number: int) -> str:
    """File name of the shard of that number."""
    return f"part-{number:05d}.parquet"


def rows_per_shard(schema: pa.Schema, *, features: Mapping[str, Feature]) -> int:
    """Number of examples in a shard: about 64 to 256 MiB of them, and as much once pixels are float32."""
    row_bytes: int = sum(_value_bytes(field.type, features.get(field.name)) for field in schema)
    return max(1, SHARD_BYTES // row_bytes)


def _value_bytes(dtype: pa.DataType, feature: Feature | None) -> int:
    if pa.types.is_fixed_size_list(dtype):
        return 4 * int(dtype.list_size)
    return feature.bytes_per_row if feature else 8


def digest(folder_or_files: Path | Iterable[Path]) -> str:
    """Return the SHA-256 (hex) over the names and content of a folder's Parquet files, or of the files given."""
    paths = files(folder_or_files) if isinstance(folder_or_files, Path) else sorted(folder_or_files)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, paths)
    lines = [f"{content} {file.name}\n" for file, content in zip(paths, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
