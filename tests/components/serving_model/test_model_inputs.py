"""Raw rows as a saved model's inputs."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.schema.features import CategoryFeature, ImageFeature, NumberFeature
from headrace.components.serving_model.model_inputs import model_inputs
from headrace.components.serving_model.saved_model import load_model, predict


def test_an_image_keeps_its_rows_and_raw_values() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 12)
    examples = pl.DataFrame({"image": pl.Series(pixels, dtype=pl.Array(pl.UInt8, 12))})

    inputs = model_inputs(examples, features={"image": ImageFeature(height=2, width=2, channels=3)})

    assert inputs["image"].dtype == np.float32
    np.testing.assert_array_equal(inputs["image"], pixels.reshape(2, 2, 2, 3))


def test_missing_values_are_nan_and_empty_text() -> None:
    examples = pl.DataFrame({"Sex": ["male", None], "Age": [None, 22.0], "other": [1, 2]})

    inputs = model_inputs(examples, features={"Age": NumberFeature(nullable=True), "Sex": CategoryFeature()})

    assert list(inputs) == ["Age", "Sex"]
    assert inputs["Age"].dtype == np.float32
    np.testing.assert_array_equal(inputs["Age"], [[np.nan], [22]])
    assert inputs["Sex"].tolist() == [["male"], [""]]


def test_no_rows_give_inputs_of_the_right_shape() -> None:
    examples = pl.DataFrame(schema={"image": pl.Array(pl.UInt8, 4), "Age": pl.Float64, "Sex": pl.String})
    features = {"image": ImageFeature(height=2, width=2), "Age": NumberFeature(), "Sex": CategoryFeature()}

    shapes = {name: values.shape for name, values in model_inputs(examples, features=features).items()}

    assert shapes == {"image": (0, 2, 2, 1), "Age": (0, 1), "Sex": (0, 1)}


def test_a_saved_model_takes_raw_rows_whatever_the_batch_size(tmp_path: Path) -> None:
    import keras

    sex, age = keras.Input((1,), dtype="string", name="Sex"), keras.Input((1,), name="Age")
    one_hot = keras.layers.StringLookup(vocabulary=["female", "male"], output_mode="one_hot")(sex)
    output = keras.layers.Concatenate()([one_hot, age])
    keras.Model({"Sex": sex, "Age": age}, output).save(tmp_path / "model.keras")
    examples = pl.DataFrame({"Age": [1.0, 2.0, 3.0], "Sex": ["male", "?", None]})

    features = {"Age": NumberFeature(), "Sex": CategoryFeature()}
    outputs = predict(load_model(tmp_path / "model.keras"), examples, features=features, batch_size=2)

    assert outputs.tolist() == [[0, 0, 1, 1], [1, 0, 0, 2], [1, 0, 0, 3]]


def test_a_missing_or_broken_model_file_is_one_readable_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="headrace train"):
        load_model(tmp_path / "model.keras")
    (tmp_path / "model.keras").write_bytes(b"no zip file")
    with pytest.raises(DataError, match=r"can't load the model .*model\.keras"):
        load_model(tmp_path / "model.keras")
