"""A split in shards that no node has whole: each node reads its own shards, once for all workers, and deals out rows.

An example of a window may go to any worker: were each worker to read what it needs, each would read all shards.
Instead, shard s belongs to node s modulo the number of nodes. A worker asks every node for those of its rows that are
in the node's shards, and puts them in the order of its batches.
"""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.files.tables import scan_files
from headrace.components.training.batches import Windows, window_blocks, window_order, worker_slice

SHARDS_AT_ONCE = 4  # read by one node

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ShardLayout:
    """Where the examples of a split lie: in shards of one length, of which only the last may be shorter."""

    examples: int
    shard_examples: int
    nodes: int

    def nodes_of(self, rows: Rows) -> Rows:
        """The node that has each row, int64[rows]."""
        return rows // self.shard_examples % self.nodes

    def length(self, shard: int) -> int:
        """Number of examples in a shard."""
        return min(self.shard_examples, self.examples - shard * self.shard_examples)


@dataclass(frozen=True)
class WindowPart:
    """One worker's examples of one window, `number` of all epochs, from the epoch's step `first_step` on.

    Without a seed, examples keep their own order.
    """

    split: str
    layout: ShardLayout
    windows: Windows
    seed: int | None
    number: int
    rank: int
    num_workers: int
    first_step: int = 0

    @cached_property
    def batches(self) -> list[Rows]:
        """The rows of each of the worker's batches."""
        window = self.number % self.windows.count
        order = window_order(self.windows, seed=self.seed, number=self.number)
        begin, end = self.windows.edges[window], int(self.windows.first_steps[window + 1])
        batches = []
        for step in range(max(int(self.windows.first_steps[window]), self.first_step), end):
            places = self.windows.batch_slice(step)
            batch = order[places.start - begin : places.stop - begin]
            batches.append(batch[worker_slice(len(batch), rank=self.rank, num_workers=self.num_workers)])
        return batches

    @property
    def rows(self) -> Rows:
        """The rows of all of the worker's batches."""
        return np.concatenate(self.batches)

    @property
    def window(self) -> tuple[str, Windows, int | None, int, int]:
        """What is the same for all workers."""
        return self.split, self.windows, self.seed, self.number, self.first_step

    def __getstate__(self) -> dict[str, object]:
        """Without the rows: a part is sent to every node."""
        return {name: value for name, value in self.__dict__.items() if name != "batches"}


class Shard(NamedTuple):
    """A shard that is read, and when it is needed next, in epochs of the training."""

    split: str
    number: int
    next_use_epoch: float


OpenShard = Callable[[Shard], AbstractContextManager[Path]]


class _Place(NamedTuple):
    """Rows of one block that are in one shard."""

    start: int
    stop: int
    shard: int


@dataclass
class _Asked:
    """A window that is read or was, and how many workers have asked for it."""

    held: "Future[_Held]" = field(default_factory=Future)
    times: int = 0


@dataclass(frozen=True)
class _Held:
    """A node's rows of a window: those of places that start at `starts`, one after another."""

    starts: Rows
    edges: Rows
    table: pl.DataFrame | None

    def take(self, rows: Rows) -> pl.DataFrame | None:
        if self.table is None:
            return None
        place = np.searchsorted(self.starts, rows, side="right") - 1
        return self.table[self.edges[place] + rows - self.starts[place]]


class NodeRows:
    """The shards of one node, read as the workers of all nodes need them.

    Memory is needed for what the node has of the windows that not all workers have asked for yet: about three, as each
    asks ahead. `open_shard` gives a shard's file while it is read. Methods may be called by several threads.
    """

    def __init__(self, *, node: int, open_shard: OpenShard) -> None:
        self._node, self._open_shard = node, open_shard
        self._epoch = 0.0  # of the newest window that was trained on
        self._lock = threading.Lock()
        self._windows: dict[object, _Asked] = {}
        self._readers = ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="shards")

    def rows(self, part: WindowPart) -> pl.DataFrame | None:
        """The examples of a part that are in shards of this node, in the part's order; None where it has none at all.

        Raises DataError where a shard has another number of rows than belong in it.
        """
        held, rows = self._held(part), part.rows
        return held.take(rows[part.layout.nodes_of(rows) == self._node])

    def _held(self, part: WindowPart) -> _Held:
        """The node's examples of a window: who asks first reads them, and who asks last has them dropped."""
        with self._lock:
            is_first = part.window not in self._windows
            asked = self._windows.setdefault(part.window, _Asked())
            asked.times += 1
            if asked.times >= part.num_workers:
                del self._windows[part.window]
        if is_first:
            try:
                asked.held.set_result(self._read(part))
            except BaseException as error:
                asked.held.set_exception(error)
                raise
        return asked.held.result()

    def _read(self, part: WindowPart) -> _Held:
        if part.seed is not None:
            self._epoch = max(self._epoch, part.number / part.windows.count)
        places = [one for one in _places(part) if one.shard % part.layout.nodes == self._node]
        by_shard: dict[int, list[_Place]] = {}
        for one in places:
            by_shard.setdefault(one.shard, []).append(one)
        tables = list(self._readers.map(lambda shard: self._read_shard(part, by_shard[shard]), by_shard))
        starts = np.array([one.start for some in by_shard.values() for one in some], np.int64)
        lengths = np.array([one.stop - one.start for some in by_shard.values() for one in some], np.int64)
        edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return _Held(starts, edges, pl.concat(tables) if tables else None)

    def _read_shard(self, part: WindowPart, places: list[_Place]) -> pl.DataFrame:
        number, first = places[0].shard, places[0].shard * part.layout.shard_examples
        shard = Shard(part.split, number, self._epoch + _epochs_to_next_use(part, number))
        with self._open_shard(shard) as file:
            found, expected = pq.read_metadata(file).num_rows, part.layout.length(number)
            if found != expected:
                raise DataError(
                    f"shard {number} of the {part.split} split has {found} rows, expected {expected} of the "
                    f"{part.layout.examples} that manifest.json counts; run `headrace split` again"
                )
            rows = scan_files(file)
            # Read before the file may go.
            return pl.concat([rows.slice(one.start - first, one.stop - one.start).collect() for one in places])


def _places(part: WindowPart) -> Iterator[_Place]:
    """What a window's blocks have of each shard, sorted by row."""
    windows = part.windows
    for block in np.sort(window_blocks(windows, seed=part.seed, number=part.number)).tolist():
        start, stop = block * windows.block_examples, min((block + 1) * windows.block_examples, windows.examples)
        while start < stop:
            shard = start // part.layout.shard_examples
            end = min(stop, (shard + 1) * part.layout.shard_examples)
            yield _Place(start, end, shard)
            start = end


def _epochs_to_next_use(part: WindowPart, shard: int) -> float:
    """How many epochs after a window a shard is needed again."""
    epoch = part.number // part.windows.count
    for one in (epoch, epoch + 1):
        uses = _uses(part.layout, part.windows, part.seed, one).get(shard, [])
        following = bisect_right(uses, part.number)
        if following < len(uses):
            return (uses[following] - part.number) / part.windows.count
    return float("inf")


@lru_cache(maxsize=8)
def _uses(layout: ShardLayout, windows: Windows, seed: int | None, epoch: int) -> dict[int, list[int]]:
    """The windows of an epoch that each shard has rows of."""
    uses: dict[int, list[int]] = {}
    for number in range(epoch * windows.count, (epoch + 1) * windows.count):
        part = WindowPart("", layout, windows, seed, number, rank=0, num_workers=1)
        for shard in {one.shard for one in _places(part)}:
            uses.setdefault(shard, []).append(number)
    return uses
