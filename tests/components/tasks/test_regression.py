"""A number and several: metrics, held equal to scikit-learn's, labels that are transformed, and the worst mistakes."""

import keras
import numpy as np
import polars as pl
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import TrainingError
from headrace.components.models.build import build
from headrace.components.models.settings import Model
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import NumberLabel, NumbersLabel, NumberTarget
from headrace.components.schema.split_settings import Split
from headrace.components.tasks.metric_names import lower_is_better
from headrace.components.tasks.number_outcome import number_metrics, number_outcome, numbers_metrics
from headrace.components.tasks.variants import task_of
from headrace.components.training.feeding.split_arrays import label_array
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.min_max import FittedMinMax, MinMax
from headrace.components.transforms.standardize import FittedStandardize, Standardize

SEVERAL = NumbersLabel(targets={"weight": NumberTarget(), "waist": NumberTarget()})


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=2, max_size=30))
def test_number_metrics_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs, dtype=float).T

    found = number_metrics(labels, predictions)

    expected = {
        "loss": sklearn.metrics.mean_squared_error(labels, predictions),
        "root_mean_squared_error": sklearn.metrics.root_mean_squared_error(labels, predictions),
        "mean_absolute_error": sklearn.metrics.mean_absolute_error(labels, predictions),
    }
    if len(np.unique(labels)) > 1:
        expected["r2"] = sklearn.metrics.r2_score(labels, predictions)
    assert found == pytest.approx(expected)


def test_metrics_of_several_numbers_are_each_one_s_own_and_those_of_all() -> None:
    draw = np.random.default_rng(1)
    labels = draw.normal([180, 35, 7], [20, 3, 0], (50, 3))  # the last is a constant
    predictions = labels + draw.normal(0, [10, 1, 0.1], (50, 3))
    label = NumbersLabel(targets={"Weight": NumberTarget(), "größe {m}": NumberTarget(), "c": NumberTarget()})
    found = numbers_metrics(labels, predictions, label=label)
    assert set(found) == set(task_of(label).metric_names) - {"c.r2"}
    for place, name in enumerate(["Weight", "grosse_m", "c"]):
        own = number_metrics(labels[:, place], predictions[:, place])
        assert {key: found[f"{name}.{key}"] for key in own} == own
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(labels[:, :2], predictions[:, :2]))
    scaled = (predictions - labels) / [*np.std(labels[:, :2], axis=0), 1]
    assert found["loss"] == pytest.approx(np.mean(scaled**2))
    assert all(lower_is_better(name) != name.endswith("r2") for name in found)


def test_each_number_is_scaled_by_its_own_and_given_back_in_its_unit(tmp_path) -> None:
    task, draw = task_of(SEVERAL), np.random.default_rng(1)
    x = draw.normal(5, 2, 300)
    rows = {"example_id": np.arange(300, dtype=np.uint64), "x": x, "weight": 150 + 10 * x, "waist": 40 - x / 10}
    pl.DataFrame(rows).write_parquet(tmp_path / "examples.parquet")
    split, features = Split(held_out="none"), {"x": NumberFeature()}
    for transform in (Standardize(), MinMax()):
        fitted = fit(
            [tmp_path / "examples.parquet"],
            split=split,
            features=features,
            transforms={"x": (Standardize(),)},
            label=SEVERAL,
            label_transform=transform,
        )
        table = apply(pl.scan_parquet(tmp_path / "examples.parquet"), fitted, label=task.label_values(fitted)).collect()
        labels = label_array(table, fitted=fitted)
        assert (labels.dtype, labels.shape) == (np.float32, (300, 2))
        low, high = (0, 1) if isinstance(transform, MinMax) else (labels.min(), labels.max())
        assert (labels.min(), labels.max()) == (low, high)
        core = build(Model.model_validate({"layers": []}), input_shape=(1,), output=task.output(None))
        slope, intercept = np.polyfit(table["x"].to_numpy(), labels, 1)
        core.set_weights([slope[None, :].astype(np.float32), intercept.astype(np.float32)])
        assert float(task.loss(label_smoothing=0.0)(labels, core(table["x"].to_numpy()[:, None]))) < 1e-8
        task.saved_model(core, fitted).save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
        outputs = np.asarray(model({"x": x[:, None].astype(np.float32)}))
        np.testing.assert_allclose(outputs, np.stack([rows["weight"], rows["waist"]], axis=1), rtol=1e-4)


def test_a_number_label_is_transformed():
    table = pl.DataFrame({"x": [1.0, 1.0], "example_id": [7, 8], "distance": [10.0, 30.0]})
    fitted = FittedTable(
        features={"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
        label=NumberLabel(name="distance"),
        label_transform=FittedMinMax(minimum=10, maximum=20),
        training_examples=2,
    )
    label = table.select(task_of(fitted.label).label_values(fitted)).to_series()
    assert label.dtype == pl.Float32
    assert label.to_list() == [0, 2]


@pytest.mark.parametrize("deviation", [4.0, 0.0])
def test_a_number_comes_out_in_the_labels_own_unit(deviation, tmp_path):
    fitted = FittedTable(
        features={"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
        label=NumberLabel(name="distance"),
        label_transform=FittedStandardize(mean=100, standard_deviation=deviation),
        training_examples=1,
    )
    values = keras.Input((1,))
    task_of(fitted.label).saved_model(keras.Model(values, values * 1.0), fitted).save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    values = np.array([[0.0], [2.5]], dtype=np.float32)
    np.testing.assert_allclose(model.predict({"x": values}, verbose=0), 100 + deviation * values)


def test_the_largest_errors_come_first_in_the_labels_unit() -> None:
    outcome = number_outcome(
        np.array([10.0, 20, 30]), np.array([11.0, 15, 30]), label=NumberLabel(name="d", unit="m"), worst_examples=2
    )

    assert [(one.row, one.predicted, one.detail) for one in outcome.worst] == [(1, "15", "-5 m"), (0, "11", "+1 m")]
    assert outcome.figures.keys() == {"predicted_against_true", "residuals"}


def test_predictions_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(TrainingError, match="1 of 2 predictions"):
        number_outcome(np.array([1.0, 2]), np.array([1.0, np.nan]), label=NumberLabel(name="d"), worst_examples=1)


def test_numbers_have_no_weights():
    assert task_of(NumberLabel(name="price")).example_weights(np.ones(2), class_weights=None) is None
