"""Sorting more examples than memory holds: sorted runs, and a merge of all of them, range of ids by range of ids.

Ids are uniform, so the 256 ranges of their first byte are about equally long. A run is an Arrow file of one record
batch; the merge of some ranges maps one run after the other into memory, and copies what it has of them. The result
depends on the rows and on nothing else: not on how they were cut into runs, nor on where those were made.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from components.examples.identity import Words

RANGES = 256


def write_run(table: pl.DataFrame, file: Path) -> list[int]:
    """Return how many examples are in each range, after writing all, sorted by id, as an Arrow file of one batch."""
    arrow = table.to_arrow().combine_chunks()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return np.diff(_places(table["example_id"].to_numpy(), range(RANGES))).tolist()


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
    tables = (_read(run, ranges) for run in runs)
    return [table for table in tables if table.num_rows]


def _read(run: Path, ranges: range) -> pa.Table:
    with pa.memory_map(str(run)) as file:
        table = pa.ipc.open_file(file).read_all()
        begin, *_, end = _places(pl.Series(table["example_id"]).to_numpy(), ranges)
        wanted = table.slice(begin, end - begin)
        # Copied, one run after the other: whole large pages of all of them would count as the process's own.
        return pa.Table.from_arrays([_copied(column) for column in wanted.columns], schema=wanted.schema)


def _copied(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([*column.chunks, pa.array([], column.type)])


def _places(ids: Words, ranges: range) -> list[int]:
    """Where each of some ranges begins among sorted ids, and where the last ends."""
    firsts = np.array([number << 56 for number in (*ranges, ranges.stop) if number < RANGES], dtype=np.uint64)
    return [*np.searchsorted(ids, firsts).tolist(), *([len(ids)] if ranges.stop == RANGES else [])]
