"""Workers that get their rows from the nodes' shards train on the very batches of local files."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError, ServiceError
from headrace.components.training.batches import Windows, epoch_order
from headrace.components.training.feeding.batch_source import ExampleBatches, Part
from headrace.components.training.feeding.exchanged_batches import ExchangedBatches
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.feeding.window_parts import NodeRows, Shard, ShardLayout, WindowPart

SHARD = 7


def example_rows(examples: int) -> pl.DataFrame:
    index = np.arange(examples)
    features = np.stack([index, index / 3, -index], axis=1).astype(np.float32)
    return pl.DataFrame(
        {"x": features, "label": (index % 5).astype(np.int32), "sample_weight": index / 7},
        schema={"x": pl.Array(pl.Float32, 3), "label": pl.Int32, "sample_weight": pl.Float64},
    )


def columns_of(rows: pl.DataFrame) -> Columns:
    weights = rows["sample_weight"].cast(pl.Float32).to_numpy()
    return Columns(rows["x"].to_numpy(), rows["label"].to_numpy(), weights)


class NodesHere:
    """All nodes in this process; `read` are the shards that were, each as often as it was."""

    def __init__(self, rows: pl.DataFrame, folder: Path, *, nodes: int) -> None:
        self.layout = ShardLayout(len(rows), SHARD, nodes)
        self.read: list[Shard] = []
        self.folder = folder
        for number, start in enumerate(range(0, len(rows), SHARD)):
            rows[start : start + SHARD].write_parquet(folder / f"{number}.parquet")
        self.nodes = [NodeRows(node=node, open_shard=self.open) for node in range(nodes)]

    @contextmanager
    def open(self, shard: Shard) -> Iterator[Path]:
        self.read.append(shard)
        yield self.folder / f"{shard.number}.parquet"

    def rows(self, part):
        return [node.rows(part) for node in self.nodes]


def exchanged(nodes: NodesHere, windows: Windows, seed: int | None) -> ExchangedBatches:
    return ExchangedBatches(nodes, nodes.layout, windows, seed, "train", columns_of, (3,))


def assert_same_batches(found, expected, *, batches: int) -> None:
    compared = 0
    for one, other in zip(found.take(batches), expected.take(batches), strict=True):
        tf.nest.assert_same_structure(one, other)
        for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            assert left.dtype == right.dtype
            assert left.numpy().tobytes() == right.numpy().tobytes()
        compared += 1
    assert compared == batches


@pytest.mark.long
@settings(max_examples=8, deadline=None)
@given(
    windows=st.builds(Windows, st.integers(17, 120), st.integers(4, 30), st.integers(16, 64)),
    seed=st.integers(0, 2**32 - 1),
    num_workers=st.integers(1, 4),
    nodes=st.integers(1, 4),
    data=st.data(),
)
def test_batches_are_bit_for_bit_those_of_local_rows_over_epochs_and_from_any_step(
    tmp_path_factory, windows, seed, num_workers, nodes, data
):
    first_step = data.draw(st.integers(0, 2 * windows.steps))
    part = Part(data.draw(st.integers(0, num_workers - 1)), num_workers)
    rows = example_rows(windows.examples)
    local = ExampleBatches(columns_of(rows), windows, seed, "train")
    shards = NodesHere(rows, tmp_path_factory.mktemp("shards"), nodes=nodes)
    by_exchange, steps = exchanged(shards, windows, seed), 2 * windows.steps + 1
    with (
        by_exchange.training(part, first_step=first_step, steps=steps) as found,
        local.training(part, first_step=first_step, steps=steps) as expected,
    ):
        assert_same_batches(found, expected, batches=steps)
    with by_exchange.evaluation(part, passes=2) as found, local.evaluation(part, passes=2) as expected:
        for _ in range(2):  # Keras begins an iterator for each
            assert_same_batches(found, expected, batches=windows.steps)
    first = by_exchange.first_examples(3)
    np.testing.assert_array_equal(first.features, local.first_examples(3).features)


@settings(max_examples=25, deadline=None)
@given(
    windows=st.builds(Windows, st.integers(17, 150), st.integers(4, 30), st.none() | st.integers(16, 64)),
    seed=st.none() | st.integers(0, 2**32 - 1),
    num_workers=st.integers(1, 4),
    nodes=st.integers(1, 5),
    data=st.data(),
)
def test_all_workers_get_the_rows_of_worker_order_and_each_shard_is_read_once_a_window(
    tmp_path_factory, windows, seed, num_workers, nodes, data
):
    epoch, rows = data.draw(st.integers(0, 5)), example_rows(windows.examples)
    first_step = data.draw(st.integers(0, windows.steps - 1))
    shards = NodesHere(rows, tmp_path_factory.mktemp("shards"), nodes=nodes)
    order = np.arange(windows.examples) if seed is None else epoch_order(windows, seed=seed, epoch=epoch)
    first_window = windows.window_of(first_step)
    read_in_windows = 0
    for window in range(first_window, windows.count):
        number, first = epoch * windows.count + window, first_step if window == first_window else 0
        parts = [
            WindowPart("train", shards.layout, windows, seed, number, rank, num_workers, first)
            for rank in range(num_workers)
        ]
        with ThreadPoolExecutor(num_workers) as workers:  # all at once, as workers on several nodes ask
            found = list(workers.map(shards.rows, parts))
        for part, tables in zip(parts, found, strict=True):
            owners = shards.layout.nodes_of(part.rows)
            for node, table in enumerate(tables):
                expected = part.rows[owners == node]
                assert (np.empty(0) if table is None else table["x"].to_numpy()[:, 0]).tolist() == expected.tolist()
        steps = range(max(first, int(windows.first_steps[window])), int(windows.first_steps[window + 1]))
        for step, batch in zip(steps, zip(*(part.batches for part in parts), strict=True), strict=True):
            assert np.concatenate(batch).tolist() == order[windows.batch_slice(step)].tolist()
        begin, end = windows.edges[window : window + 2]
        read_in_windows += len(set((order[begin:end] // SHARD).tolist()))
    assert len(shards.read) == read_in_windows
    assert all(one.next_use_epoch > 0 for one in shards.read)


def test_the_time_of_the_next_use_is_that_of_the_next_window_with_a_row_of_the_shard(tmp_path):
    windows, seed = Windows(140, 10, 16), 5
    shards = NodesHere(example_rows(140), tmp_path, nodes=1)
    uses = []  # of each window, the shards
    for number in range(2 * windows.count):
        shards.read.clear()
        shards.rows(WindowPart("train", shards.layout, windows, seed, number, 0, 1))
        uses.append({one.number: one.next_use_epoch for one in shards.read})
    for number in range(windows.count):
        for shard, expected in uses[number].items():
            following = next(later for later in range(number + 1, len(uses)) if shard in uses[later])
            assert expected == pytest.approx(following / windows.count)


def test_what_a_node_raises_ends_the_batches_and_nothing_waits_for_it(tmp_path):
    windows = Windows(120, 10, 16)
    shards = NodesHere(example_rows(120), tmp_path, nodes=2)
    source, answer = exchanged(shards, windows, 1), shards.rows

    def fail_later(part: WindowPart):
        if part.number >= 3:
            raise ServiceError("the storage is away; see that it is up")
        return answer(part)

    shards.rows = fail_later
    served = 0
    with (
        pytest.raises(ServiceError, match="the storage is away; see"),
        source.training(Part(0, 1), first_step=0, steps=windows.steps) as found,
    ):
        for _ in found:
            served += 1
    assert served == windows.first_steps[3]
    with source.training(Part(0, 1), first_step=0, steps=2) as found:  # left before its end
        next(iter(found))


def test_a_shard_of_another_length_is_refused(tmp_path):
    shards = NodesHere(example_rows(40), tmp_path, nodes=1)
    example_rows(6).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"shard 2 of the train split has 6 rows, expected 7 of the 40 that manifest"):
        shards.rows(WindowPart("train", shards.layout, Windows(40, 10, 40), 1, 0, 0, 1))
