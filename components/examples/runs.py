"""Sorting more examples than memory holds: sorted runs, and a merge of all of them, range of ids by range of ids.

Ids are uniform, so the 256 ranges of their first byte are about equally long. A run is an Arrow file with one record
batch per range, unless it is short; the merge of some ranges reads only their batches. The result depends on the rows
and on nothing else: not on how they were cut into runs, nor on where those were made.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

RANGES = 256
_SHORT_BYTES = 1 << 21  # so many are read faster than 256 batches are found


def encode_run(table: pl.DataFrame) -> tuple[pa.Buffer, list[int]]:
    """Return examples, sorted by id, as an Arrow file, and how many of them are in each range."""
    firsts = np.arange(1, RANGES, dtype=np.uint64) << np.uint64(56)
    ends = [0, *np.searchsorted(table["example_id"].to_numpy(), firsts).tolist(), table.height]
    arrow = table.to_arrow()
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in arrow.columns], schema=arrow.schema)
    counts = np.diff(ends).tolist()
    cuts = zip(ends, counts, strict=False) if table.estimated_size() > _SHORT_BYTES else [(0, table.height)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, arrow.schema) as writer:
        for begin, count in cuts:
            writer.write_batch(batch.slice(begin, count))
    return sink.getvalue(), counts


def plan_shards(counts: Sequence[int], *, rows_per_shard: int) -> list[range]:
    """Return which ranges each shard holds: as many as fit into it, and one at least. Shards may be empty of rows."""
    shards, begin, rows = [], 0, 0
    for number, count in enumerate(counts):
        if rows + count > rows_per_shard and rows:
            shards.append(range(begin, number))
            begin, rows = number, 0
        rows += count
    return [*shards, range(begin, len(counts))]


def read_ranges(runs: Sequence[Path], ranges: range) -> list[pl.DataFrame]:
    """Return what each run has in some ranges, in the order of the runs; those without rows are left out."""
    tables = []
    for run in runs:
        with pa.OSFile(str(run)) as file:
            reader = pa.ipc.open_file(file)
            is_short = reader.num_record_batches == 1
            batches = [reader.get_batch(number) for number in (range(1) if is_short else ranges)]
            table = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches, schema=reader.schema)))
        if is_short:
            first_byte = pl.col("example_id") // (1 << 56)
            table = table.filter(first_byte.is_between(ranges.start, ranges.stop - 1))
        if table.height:
            tables.append(table)
    return tables
