"""Raw rows as a saved model's inputs."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.serving_model import saved_model
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


@pytest.mark.parametrize("rows", [2, 1024])
def test_a_saved_model_takes_raw_rows_whatever_the_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    import keras

    monkeypatch.setattr(saved_model, "rows_at_once", lambda *_: rows)

    sex, age = keras.Input((1,), dtype="string", name="Sex"), keras.Input((1,), name="Age")
    one_hot = keras.layers.StringLookup(vocabulary=["female", "male"], output_mode="one_hot")(sex)
    output = keras.layers.Concatenate()([one_hot, age])
    keras.Model({"Sex": sex, "Age": age}, output).save(tmp_path / "model.keras")
    examples = pl.DataFrame({"Age": [1.0, 2.0, 3.0], "Sex": ["male", "?", None]})

    features = {"Age": NumberFeature(), "Sex": CategoryFeature()}
    outputs = predict(load_model(tmp_path / "model.keras"), examples, features=features)

    assert outputs.tolist() == [[0, 0, 1, 1], [1, 0, 0, 2], [1, 0, 0, 3]]


def test_batches_of_a_narrow_table_are_large_and_give_the_outputs_of_small_ones_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import keras

    features = {name: NumberFeature() for name in "abcdefghij"}
    inputs = {name: keras.Input((1,), name=name) for name in features}
    hidden = keras.layers.Dense(64, activation="gelu")(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))
    values = np.random.default_rng(1).normal(size=(len(features), 40_000))
    examples = pl.DataFrame(dict(zip(features, values, strict=True)))

    assert saved_model.rows_at_once(model, features) == 32_768
    outputs = predict(model, examples, features=features)
    monkeypatch.setattr(saved_model, "rows_at_once", lambda *_: 1024)
    np.testing.assert_array_equal(outputs, predict(model, examples, features=features))


def test_a_batch_is_smaller_where_a_layer_is_wide_or_images_are_large() -> None:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2048)])
    assert saved_model.rows_at_once(model, {"x": NumberFeature()}) == 2048
    assert saved_model.rows_at_once(model, {"image": ImageFeature(height=8, width=8)}) == 1024
    assert saved_model.rows_at_once(model, {"image": ImageFeature(height=1024, width=1024)}) == 4
    assert saved_model.rows_at_once(lambda inputs: inputs, {"x": NumberFeature()}) == 32_768


def test_a_missing_or_broken_model_file_is_one_readable_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="headrace train"):
        load_model(tmp_path / "model.keras")
    (tmp_path / "model.keras").write_bytes(b"no zip file")
    with pytest.raises(DataError, match=r"can't load the model .*model\.keras"):
        load_model(tmp_path / "model.keras")
