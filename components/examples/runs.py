"""Sorting more examples than memory holds: sorted runs, and a merge of all of them, range of ids by range of ids.

Ids are uniform, so the 256 ranges of their first byte are about equally long. A run is an Arrow file with one record
batch per range, unless it is short; the merge of some ranges reads only their batches. The result depends on the rows
and on nothing else: not on how they were cut into runs, nor on where those were made.

Runs are not mapped into memory: whole large pages of each count as the process's own, hundreds of runs at once.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from components.examples.identity import Words

RANGES = 256
_SHORT_BYTES = 1 << 21  # so many are read faster than 256 batches are found


def encode_run(table: pl.DataFrame) -> tuple[pa.Buffer, list[int]]:
    """Return examples, sorted by id, as an Arrow file, and how many of them are in each range."""
    places = _places(table["example_id"].to_numpy(), range(RANGES))
    arrow = table.to_arrow()
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in arrow.columns], schema=arrow.schema)
    cuts = pairwise(places) if table.estimated_size() > _SHORT_BYTES else [(0, table.height)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, arrow.schema) as writer:
        for begin, end in cuts:
            writer.write_batch(batch.slice(begin, end - begin))
    return sink.getvalue(), np.diff(places).tolist()


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
    with pa.OSFile(str(run)) as file:
        reader = pa.ipc.open_file(file)
        if reader.num_record_batches > 1:
            return pa.Table.from_batches([reader.get_batch(number) for number in ranges], schema=reader.schema)
        table = reader.read_all()
    begin, *_, end = _places(pl.Series(table["example_id"]).to_numpy(), ranges)
    return table.slice(begin, end - begin)


def _places(ids: Words, ranges: range) -> list[int]:
    """Where each of some ranges begins among sorted ids, and where the last ends."""
    firsts = np.array([number << 56 for number in (*ranges, ranges.stop) if number < RANGES], dtype=np.uint64)
    return [*np.searchsorted(ids, firsts).tolist(), *([len(ids)] if ranges.stop == RANGES else [])]
