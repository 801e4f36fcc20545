"""Images of a folder, packed: a Parquet file with the path and the content of each, written and read group by group.

Content stays as it is: images are compressed already.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.components.errors import DataError
from headrace.components.sources.archives import Member
from headrace.components.sources.grouping import grouped
from headrace.components.sources.parquet.reader import damage_reported, open_parquet

_SCHEMA = pa.schema(
    [pa.field("file", pa.string(), nullable=False), pa.field("content", pa.large_binary(), nullable=False)]
)
# A row group is in memory at once; one page of it, a column's, must be smaller than 2 GiB.
_GROUP_BYTES = 1 << 24
_GROUP_ROWS = 1 << 14


def write_packed_images(images: Iterable[Member], path: Path) -> None:
    """Write images in their order; equal ones give equal bytes."""
    with pq.ParquetWriter(
        path,
        _SCHEMA,
        compression="none",
        use_dictionary=False,
        write_statistics=False,  # the least and greatest image say nothing
        write_page_checksum=True,
    ) as writer:
        groups = grouped(
            images, size_bytes=lambda image: len(image.content), most_bytes=_GROUP_BYTES, most_items=_GROUP_ROWS
        )
        for group in groups:
            columns = [[image.name for image in group], [image.content for image in group]]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def read_packed_images(path: Path) -> Iterator[Member]:
    """Yield the images of a file in its order; raise DataError, maybe after some, for a damaged or another file."""
    with open_parquet(path) as file:
        with damage_reported(path):
            found = file.schema_arrow
        if found != _SCHEMA:
            raise DataError(
                f"{path.name} holds no packed images (its columns are {', '.join(found.names)}): remove it, and ingest "
                "packs them again"
            )
        for number in range(file.num_row_groups):
            yield from map(Member, *_columns(file, number, path))


def _columns(file: pq.ParquetFile, number: int, path: Path) -> list[list[Any]]:
    with damage_reported(path):
        return [column.to_pylist() for column in file.read_row_group(number, use_threads=False).columns]
