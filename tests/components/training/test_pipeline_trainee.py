"""A model of a file with several inputs, trained from memory and from disk."""

import numpy as np
import polars as pl
import pytest

from headrace.components.examples import shards
from headrace.components.models.named_inputs import input_groups
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import NumberLabel
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import write_columns
from headrace.components.training.feeding.split_arrays import load_split
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.settings import Training
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

FILE = "models/two.py"
CODE = OwnCode(
    {
        FILE: """
import keras
from keras import layers

def build_model(inputs, label):
    deep = layers.Dense(8, activation="relu")(inputs["deep"])
    return keras.Model(inputs, layers.Dense(label.outputs)(layers.Concatenate()([deep, inputs["wide"]])))

class Count(keras.callbacks.Callback):
    epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)

def build_callbacks():
    return [Count()]
"""
    }
)
FITTED = FittedTable(
    features={
        "a": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,)),
        "b": FittedFeature(feature=NumberFeature(), transforms=(), shape=(3,)),
        "c": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,)),
    },
    label=NumberLabel(name="y"),
    training_examples=1,
)
TRAINING = {
    "model": {"file": FILE, "inputs": {"deep": ["a", "b"], "wide": ["c"]}, "callbacks": "build_callbacks"},
    "optimizer": {"kind": "adam", "learning_rate": 0.05},
    "global_batch_size": 16,
    "window_examples": 64,
    "epochs": 5,
    "best_by": "loss",
}


@pytest.fixture
def split(tmp_path):
    generator = np.random.default_rng(0)
    a, b, c = generator.normal(size=97), generator.normal(size=(97, 3)), generator.normal(size=97)
    table = pl.DataFrame(
        {
            "a": a.astype(np.float32),
            "b": pl.Series(b.astype(np.float32), dtype=pl.Array(pl.Float32, 3)),
            "c": c.astype(np.float32),
            "label": (a - 2 * b[:, 1] + 3 * c).astype(np.float32),
        }
    )
    shards.write(table.lazy(), tmp_path / "split")
    return tmp_path / "split"


def test_several_inputs_are_the_same_from_memory_and_from_disk(tmp_path, split):
    training = Training.model_validate(TRAINING)
    inputs = input_groups(FITTED, training.model.inputs)
    windows = Windows(97, training.global_batch_size, training.window_examples)
    memory = load_split(split, fitted=FITTED, inputs=inputs)
    stored = write_columns(
        split, tmp_path / "columns", fitted=FITTED, inputs=inputs, block_examples=windows.block_examples
    )
    found = []
    for number, columns in enumerate((memory, stored)):
        with CODE.importable():
            found.append(
                train_pipeline(
                    columns,
                    None,
                    training=training,
                    label=FITTED.label,
                    inputs=inputs,
                    code=CODE,
                    worker=Worker(0, 1),
                    folder=tmp_path / str(number),
                    observer=Observer(),
                )
            )
    assert found[0].state.history[-1]["loss"] < 0.3 * found[0].state.history[0]["loss"]
    for one, other in zip(found[0].weights, found[1].weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert CODE.function(FILE, "Count").epochs == [*range(5), *range(5)]
