"""Sorting more examples than memory holds: sorted runs, and a merge of all of them, range of ids by range of ids.

Ids are uniform, so the 256 ranges of their first byte are about equally long. A run is an Arrow file of one record
batch, sorted; the merge of some ranges maps it into memory and touches only their rows. The result depends on the rows
and on nothing else: not on how they were cut into runs, nor on where those were made.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from components.examples.identity import Words

RANGES = 256


def encode_run(table: pl.DataFrame) -> tuple[pa.Buffer, list[int]]:
    """Return examples, sorted by id, as an Arrow file, and how many of them are in each range."""
    ends = _ends(table["example_id"].to_numpy(), range(RANGES))
    arrow = table.to_arrow()
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in arrow.columns], schema=arrow.schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue(), np.diff(ends).tolist()


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
        batch = pa.ipc.open_file(pa.memory_map(str(run))).get_batch(0)
        begin, *_, end = _ends(batch.column("example_id").to_numpy(), ranges)
        if begin < end:
            tables.append(pl.DataFrame(pl.from_arrow(batch.slice(begin, end - begin))))
    return tables


def _ends(ids: Words, ranges: range) -> list[int]:
    """The first row of each range, of ids that are sorted, and last the row after the last range."""
    firsts = np.arange(ranges.start, min(ranges.stop, RANGES - 1) + 1, dtype=np.uint64) << np.uint64(56)
    ends: list[int] = np.searchsorted(ids, firsts).tolist()
    return [*ends, len(ids)] if ranges.stop == RANGES else ends
