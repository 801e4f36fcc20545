"""Sorting more examples than memory holds: sorted runs, and a merge of all of them, range of ids by range of ids.

Ids are uniform, so the 256 ranges of their first byte are about equally long. A run is an Arrow file of one record
batch; it is mapped into memory, and of it the merge of some ranges touches only theirs. The result depends on the rows
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
    counts = np.diff(_places(table["example_id"].to_numpy(), range(RANGES)))
    sink = pa.BufferOutputStream()
    arrow = table.rechunk().to_arrow()
    with pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return sink.getvalue(), counts.tolist()


def plan_shards(counts: Sequence[int], *, rows_per_shard: int) -> list[range]:
    """Return which ranges each shard holds: as many as fit into it, and one at least. Shards may be empty of rows."""
    shards, begin, rows = [], 0, 0
    for number, count in enumerate(counts):
        if rows + count > rows_per_shard and rows:
            shards.append(range(begin, number))
            begin, rows = number, 0
        rows += count
    return [*shards, range(begin, len(counts))]


def read_ranges(runs: Sequence[Path], ranges: range) -> list[pa.Table]:
    """Return what each run has in some ranges, in the order of the runs; those without rows are left out."""
    tables = []
    for run in runs:
        with pa.memory_map(str(run)) as file:
            table = pa.ipc.open_file(file).read_all()
        ids = pl.Series(table["example_id"]).to_numpy()  # not by Arrow, which imports pandas for that
        begin, *_, end = _places(ids, ranges)
        if begin < end:
            tables.append(table.slice(begin, end - begin))
    return tables


def _places(ids: Words, ranges: range) -> list[int]:
    """Where each of some ranges begins among sorted ids, and where the last ends."""
    firsts = np.array([number << 56 for number in (*ranges, ranges.stop) if number < RANGES], dtype=np.uint64)
    return [*np.searchsorted(ids, firsts).tolist(), *([len(ids)] if ranges.stop == RANGES else [])]
