"""Calibration: held to SciPy and scikit-learn, and the same after the model was saved."""

from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from headrace.components.examples.shards import write
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split
from headrace.components.serving_model.keras_file import write_keras_file
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.category_outcome import category_metrics
from headrace.components.tasks.variants import task_of
from headrace.components.training.calibration import best_temperature, calibrated, isotonic_knots
from headrace.components.training.initial_weights import read_start_weights
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedTable


def overconfident(seed: int, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits three times too large, and labels."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(rows, classes))
    labels = (logits + draw.gumbel(size=logits.shape)).argmax(axis=1)
    return 3 * logits, labels.astype(np.int32)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_temperature_is_that_of_least_cross_entropy(classes: int) -> None:
    logits, labels = overconfident(0, 2000, classes)

    def cross_entropy(log_temperature: float) -> float:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            labels, logits / np.exp(log_temperature)
        ).numpy()

    expected = np.exp(minimize_scalar(cross_entropy, bounds=(-3, 3), method="bounded").x)
    assert best_temperature(logits, labels) == pytest.approx(expected, rel=0.01)
    assert best_temperature(logits, labels) == pytest.approx(3, rel=0.15)


def test_the_line_rises_as_scikit_learn_s_does() -> None:
    draw = np.random.default_rng(1)
    scores = draw.random(400)
    hits = (draw.random(400) < scores**2).astype(float)
    x, y = isotonic_knots(scores, hits)
    groups = np.array_split(np.argsort(scores, kind="stable"), 20)
    centers, shares = ([values[group].mean() for group in groups] for values in (scores, hits))
    expected = IsotonicRegression().fit(centers, shares).predict(centers)
    np.testing.assert_allclose(x, centers)
    np.testing.assert_allclose(y, expected.clip(1e-6, 1 - 1e-6))


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_saved_model_is_right_as_often_as_it_says(tmp_path: Path, kind: str, classes: int) -> None:
    names = [f"x{place}" for place in range(classes)]
    logits, labels = overconfident(2, 4000, classes)
    columns = {name: logits[:, place] for place, name in enumerate(names)}
    label = CategoryLabel(name="kind", classes=tuple(map(str, range(classes))))
    table = pl.DataFrame({"example_id": np.arange(4000, dtype=np.uint64), **columns, "kind": labels.astype(str)})
    write(table, tmp_path / "examples")
    fitted: FittedTable = fit(
        [tmp_path / "examples" / "part-00000.parquet"],
        split=Split(held_out="none"),
        features={name: NumberFeature() for name in names},
        transforms=dict.fromkeys(names, ()),
        label=label,
    )
    validation = table.select("example_id", *(pl.col(name).cast(pl.Float32) for name in names), label=labels)
    write(validation[:2000], tmp_path / "validation")
    inputs = keras.Input((classes,), name="features")
    dense = keras.layers.Dense(classes, kernel_initializer="identity")
    core = keras.Model(inputs, dense(inputs), name="core")
    found = calibrated(core, kind=kind, validation=tmp_path / "validation", fitted=fitted)
    write_keras_file(task_of(label).saved_model(found, fitted), tmp_path / "model.keras", sources={})
    saved = load_model(tmp_path / "model.keras")

    rows = {name: values[2000:, np.newaxis].astype(np.float32) for name, values in columns.items()}
    after = np.asarray(saved(rows))
    before = np.asarray(task_of(label).saved_model(core, fitted)(rows))
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-5)
    measured, was = (category_metrics(labels[2000:], one) for one in (after, before))
    assert measured["expected_calibration_error"] < 0.04 < was["expected_calibration_error"]
    assert measured["log_loss"] < was["log_loss"]
    for kept, weight in zip(read_start_weights(tmp_path / "model.keras"), core.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
