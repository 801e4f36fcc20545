"""Tables of examples on disk: a few large Parquet files in a folder."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa

from components.errors import DataError

_ROWS_PER_GROUP = 1 << 17


def scan(folder: Path) -> pl.LazyFrame:
    """Return the table in a folder's Parquet files, in the order of their names; raise DataError if there are none."""
    return pl.scan_parquet(_files(folder), glob=False)


def write(
    frame: pl.LazyFrame | pl.DataFrame, folder: Path, *, rows_per_file: int = 1 << 20, schema: pa.Schema | None = None
) -> None:
    """Write part-00000.parquet, part-00001.parquet, ... (zstd), row order kept; equal tables give equal bytes.

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
    return frame.lazy().sink_parquet(
        target, compression="zstd", row_group_size=_ROWS_PER_GROUP, arrow_schema=schema, lazy=True
    )


def digest(folder_or_files: Path | Iterable[Path]) -> str:
    """Return the SHA-256 (hex) over the names and content of a folder's Parquet files, or of the files given."""
    files = _files(folder_or_files) if isinstance(folder_or_files, Path) else sorted(folder_or_files)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_digest, files)
    lines = [f"{content} {file.name}\n" for file, content in zip(files, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(f"no Parquet files in {folder}: run the stage that writes it")
    return files


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
