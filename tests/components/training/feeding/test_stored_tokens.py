"""Next tokens, several to an example, from disk as from memory."""

import numpy as np
import polars as pl
import pytest

from headrace.components.examples import shards
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import NextTokenLabel
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import write_columns
from headrace.components.training.feeding.feed import serve_evaluation, serve_training
from headrace.components.training.feeding.split_arrays import load_split
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.vocabulary import FittedVocabulary

TEXT = FittedFeature(feature=TextFeature(length=3), transforms=(FittedVocabulary(tokens=("a", "b")),), shape=(3,))
FITTED = FittedTable(features={"text": TEXT}, label=NextTokenLabel(name="text"), training_examples=1)


@pytest.mark.parametrize("window_examples", [None, 32])
def test_tokens_on_disk_and_in_memory_serve_the_same_batches(tmp_path, window_examples):
    ids = np.random.default_rng(0).integers(0, 4, size=(101, 4))
    text = pl.Series("text", ids[:, :3].astype(np.float32), dtype=pl.Array(pl.Float32, 3))
    label = pl.Series("label", ids[:, 1:].astype(np.int32), dtype=pl.Array(pl.Int32, 3))
    shards.write(pl.DataFrame([text, label]), tmp_path / "split", rows_per_file=40)
    windows = Windows(101, 12, window_examples)
    memory = load_split(tmp_path / "split", fitted=FITTED)
    assert (memory.labels.dtype, memory.labels.shape) == (np.int32, (101, 3))
    stored = write_columns(
        tmp_path / "split", tmp_path / "columns", fitted=FITTED, block_examples=windows.block_examples
    )
    place = {"rank": 1, "num_workers": 2}
    for serve in (
        lambda columns: serve_training(columns, windows, seed=1, **place),
        lambda columns: serve_evaluation(columns, windows, **place),
    ):
        for expected, found in zip(serve(memory).take(14), serve(stored).take(14), strict=True):
            for left, right in zip(expected, found, strict=True):
                np.testing.assert_array_equal(left, right)
