"""Sorting more examples than memory holds: sorted runs, and a merge of all of them, range of ids by range of ids.

Ids are uniform, so the 256 ranges of their first byte are about equally long. A run is an Arrow file of one record
batch; the merge of some ranges maps one run after the other into memory, and copies what it has of them. The result
depends on the rows and on nothing else: not on how they were cut into runs, nor on where those were made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from headrace.components.mixing import Words

RANGES = 256


@dataclass(frozen=True)
class Run:
    """A sorted run: its file, and where in it each range of ids begins and the last ends.

    `numbers` are the columns of numbers that have a value in every row, with their NumPy types.
    """

    file: Path
    places: list[int]
    numbers: dict[str, np.dtype]


def write_run(table: pl.DataFrame, file: Path) -> list[int]:
    """Write all examples, sorted by id, as an Arrow file of one batch; return the number of examples in each range."""
    arrow = table.to_arrow().combine_chunks()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return np.diff(_places(table["example_id"].to_numpy())).tolist()


def open_run(file: Path) -> Run:
    """Description of a run, which `read_ranges` needs."""
    with _mapped(file) as table:
        columns = zip(table.schema, table.columns, strict=True)
        whole = [field for field, column in columns if _is_number(field.type) and not column.null_count]
        numbers = {field.name: np.dtype(field.type.to_pandas_dtype()) for field in whole}
        return Run(file, _places(pl.Series(table["example_id"]).to_numpy()), numbers)


def read_column(file: Path, name: str) -> pl.Series:
    """Return one column of a run."""
    with _mapped(file) as table:
        return pl.Series(name, table[name]).rechunk()


def plan_shards(counts: Sequence[int], *, rows_per_shard: int) -> list[range]:
    """Ranges that each shard holds: as many as fit into it, and one at least. Shards may be empty of rows."""
    shards, begin, rows = [], 0, 0
    for number, count in enumerate(counts):
        if rows + count > rows_per_shard and rows:
            shards.append(range(begin, number))
            begin, rows = number, 0
        rows += count
    return [*shards, range(begin, len(counts))]


def read_ranges(runs: Sequence[Run], ranges: range) -> pa.Table | None:
    """Rows that the runs have in some ranges, in the order of the runs; None where there are none."""
    cuts = [(run, run.places[ranges.start], run.places[ranges.stop]) for run in runs]
    cuts = [(run, begin, end) for run, begin, end in cuts if begin < end]
    if not cuts:
        return None
    ends = np.cumsum([end - begin for _, begin, end in cuts]).tolist()
    # Numbers go to their place in one array at once: to copy them here, and to join them later, takes twice as long.
    numbers = {name: np.empty(ends[-1], dtype) for name, dtype in _common_numbers(runs).items()}
    others = []
    for (run, begin, end), place in zip(cuts, ends, strict=True):
        with _mapped(run.file) as table:
            wanted = table.slice(begin, end - begin)
            rest = {}
            # All columns at once: Arrow looks a name up in time that grows with the number of columns.
            for name, column in zip(wanted.column_names, wanted.columns, strict=True):
                if name in numbers:
                    numbers[name][place - wanted.num_rows : place] = column.chunk(0).to_numpy()
                else:
                    # Copied, one run after the other: whole large pages of all runs would count as the process's own.
                    rest[name] = _copied(column)
            others.append(pa.table(rest))
    joined = pa.concat_tables(others)
    columns = dict(zip(joined.column_names, joined.columns, strict=True)) | {
        name: pa.array(values) for name, values in numbers.items()
    }
    return pa.table([columns[name] for name in wanted.column_names], schema=wanted.schema)


def _common_numbers(runs: Sequence[Run]) -> dict[str, np.dtype]:
    first, *others = (run.numbers for run in runs)
    return {name: dtype for name, dtype in first.items() if all(name in numbers for numbers in others)}


@contextmanager
def _mapped(run: Path) -> Iterator[pa.Table]:
    with pa.memory_map(str(run)) as file:
        yield pa.ipc.open_file(file).read_all()


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _copied(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([*column.chunks, pa.array([], column.type)])


def _places(ids: Words) -> list[int]:
    """Where each range begins among sorted ids, and where the last ends."""
    firsts = np.arange(RANGES, dtype=np.uint64) << np.uint64(56)
    return [*np.searchsorted(ids, firsts).tolist(), len(ids)]
