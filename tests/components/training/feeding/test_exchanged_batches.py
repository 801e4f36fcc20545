"""Workers that get their rows from the nodes' shards train on the very batches of local files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.training.batches import Windows
from headrace.components.training.feeding.batch_source import ExampleBatches, Part
from headrace.components.training.feeding.exchanged_batches import ExchangedBatches
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.feeding.window_parts import NodeRows, Shard, ShardLayout

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
    return ExchangedBatches(nodes, nodes.layout, windows, seed, "train", columns_of)


def assert_same_batches(found, expected, *, batches: int) -> None:
    compared = 0
    for one, other in zip(found.take(batches), expected.take(batches), strict=True):
        tf.nest.assert_same_structure(one, other)
        for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            assert left.dtype == right.dtype
            assert left.numpy().tobytes() == right.numpy().tobytes()
        compared += 1
    assert compared == batches


@settings(max_examples=12, deadline=None)
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
        assert_same_batches(found, expected, batches=2 * windows.steps)
    first = by_exchange.first_examples(3)
    np.testing.assert_array_equal(first.features, local.first_examples(3).features)
