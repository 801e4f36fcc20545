"""What the parts of the report say, of rows whose answer is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.paired import Difference
from headrace.components.evaluation.report_parts.attributions import heat_map
from headrace.components.evaluation.report_parts.baselines import Baseline, baselines
from headrace.components.evaluation.report_parts.calibration_part import calibration
from headrace.components.evaluation.report_parts.curves import CurveTable, calibration_points, curves
from headrace.components.evaluation.report_parts.importance import importance
from headrace.components.evaluation.report_parts.simple_models import classify, regress
from headrace.components.evaluation.report_parts.slices import slices
from headrace.components.evaluation.report_parts.thresholds import cheapest, row_costs, threshold_row, thresholds
from headrace.components.evaluation.report_parts.token_models import predict_tokens_simply
from headrace.components.evaluation.settings import BaselineSettings, Evaluate, ImportanceSettings
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split


@pytest.mark.parametrize(
    ("metric", "value", "ends", "said"),
    [
        ("accuracy", 0.012, (0.003, 0.021), "is better than it by 0.012 (95 % from 0.003 to 0.021)"),
        ("accuracy", -0.012, (-0.021, -0.003), "is worse than it by 0.012 (95 % from 0.003 to 0.021)"),
        ("loss", -0.5, (-0.7, -0.2), "is better than it by 0.5 (95 % from 0.2 to 0.7)"),
        ("loss", 0.5, (0.2, 0.7), "is worse than it by 0.5 (95 % from 0.2 to 0.7)"),
        ("loss", -0.1, (-0.3, 0.2), "is not shown to be better or worse than it: +0.1 (95 % from -0.2 to +0.3"),
        ("accuracy", 0.0, (-0.1, 0.1), "is not shown to be better or worse than it: +0 (95 % from -0.1 to +0.1"),
    ],
)
def test_a_comparison_says_who_is_better_whatever_the_direction(metric, value, ends, said):
    found = Difference(metric, value, Interval(*ends, 0.95), rows=100, is_exact=False)
    assert said in Baseline("it", "", {}, found).verdict


def test_simple_models_find_what_is_simple(table):
    found = baselines(table)
    assert found is not None
    constant, linear, trees = found.found
    assert (constant.name, linear.name, trees.name) == (
        "the most frequent class",
        "logistic regression",
        "gradient boosting",
    )
    target = table.outcomes["target"]
    assert constant.metrics["accuracy"] == pytest.approx((target == target.mode()[0]).mean(), abs=0.2)
    assert "better than the most frequent class" in constant.verdict
    assert "not shown to be better or worse than logistic regression" in linear.verdict  # the truth is logistic
    assert trees.metrics["accuracy"] > constant.metrics["accuracy"]
    assert found.logged()["baseline/most_frequent_class/accuracy"] == constant.metrics["accuracy"]
    assert found == baselines(table)


def test_simple_models_are_left_out_where_they_say_nothing_or_are_switched_off(table):
    assert baselines(replace(table, settings=Evaluate(baselines=BaselineSettings(enabled=False)))) is None
    nothing_held_out = replace(table.measurement, split=Split(held_out="none"))
    assert baselines(replace(table, measurement=nothing_held_out)) is None


def test_training_rows_are_at_most_so_many_and_the_same_whatever_the_order(table):
    few = table.rows_of("train", most=100)
    assert few.height == 100
    shuffled = replace(table.measurement, examples=table.measurement.examples.reverse())
    assert few.equals(replace(table, measurement=shuffled).rows_of("train", most=100))
    assert table.rows_of("train", most=10_000).height == 600


def test_images_and_texts_have_simple_columns():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 80)
    pixels = draw.integers(0, 50, (80, 40 * 40)) + 100 * labels[:, np.newaxis]
    words = ["good morning" if label else "bad evening" for label in labels]
    rows = pl.DataFrame({"image": pl.Series(pixels.tolist(), dtype=pl.Array(pl.UInt8, 1600)), "text": words})
    for features in (
        {"image": ImageFeature(height=40, width=40)},
        {"text": TextFeature(length=4, unit="word")},
        {"text": TextFeature(length=4)},
        {"image": ImageFeature(height=40, width=40), "text": TextFeature(length=4)},
    ):
        constant, linear = classify(rows[:50], rows[50:], features=features, labels=labels[:50], classes=3)
        assert (linear.values.argmax(axis=1) == labels[50:]).all()
        assert (linear.values[:, 2] == 0).all()  # a class that no training row has
        assert constant.values.shape == (30, 3)


def test_tokens_are_predicted_by_how_often_they_follow():
    a, b, padding = 2, 3, 0
    train = np.array([[a, b, a, b, padding], [b, a, b, a, b]])
    test = np.array([[a, b, a, padding, padding]])
    single, pairs = (one.found for one in predict_tokens_simply(train, test, tokens=4))
    assert single.predicted.tolist() == [[b] * 4]  # b follows four times, a three times
    assert pairs.predicted.tolist()[0][:2] == [b, a]
    assert single.is_token.tolist() == [[True, True, False, False]]
    shares = np.array([0, 1, 4, 5]) / 10  # with 1 more each
    assert single.losses[0, :2].tolist() == pytest.approx(-np.log(shares[[b, a]]))
    after_a = (4 + shares[b]) / (4 + 1)
    assert pairs.losses[0, 0] == pytest.approx(-np.log(after_a))
    assert len(list(predict_tokens_simply(train, test, tokens=4096))) == 1


def test_one_class_alone_leaves_nothing_to_fit():
    rows = pl.DataFrame({"x": [1.0, 2.0]})
    [only] = classify(rows, rows, features={"x": NumberFeature()}, labels=np.array([1, 1]), classes=2)
    assert only.values.tolist() == [[0, 1], [0, 1]]


def test_missing_and_new_values_are_taken_as_they_come():
    train = pl.DataFrame({"x": [1.0, None, 3.0, 4.0] * 10, "word": ["a", "b", None, "a"] * 10})
    test = pl.DataFrame({"x": [None, 1e300], "word": ["new", None]})
    features = {"x": NumberFeature(nullable=True), "word": CategoryFeature(nullable=True)}
    labels = np.arange(40, dtype=np.float64)[:, np.newaxis]
    for found in regress(train, test, features=features, labels=labels):
        assert found.values.shape == (2, 1)
        assert np.isfinite(found.values).all()


def test_a_threshold_is_the_cheapest_and_the_nearest_to_a_half_of_equal_ones():
    scores, positive = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    assert cheapest(scores, positive, costs=(1, 1)) == 0.5
    scores = np.array([0.1, 0.3, 0.3, 0.9])
    positive = np.array([False, False, True, True])
    assert cheapest(scores, positive, costs=(1, 5)) == 0.3
    assert 0.3 < cheapest(scores, positive, costs=(5, 1)) <= 0.9
    assert row_costs(scores, positive, 0.3, costs=(1, 5)).tolist() == [0, 1, 0, 0]
    found = threshold_row(scores, positive, 0.5, costs=(1, 5))
    assert (found.false_positives, found.false_negatives, found.precision, found.recall) == (0, 1, 1.0, 0.5)
    assert found.cost == 5 / 4
    assert threshold_row(scores, positive, 0.95, costs=(1, 5)).precision is None


def test_a_threshold_is_chosen_on_other_rows_than_it_is_shown_on(table):
    found = thresholds(table)
    assert found is not None
    assert found.chosen_on == "validation"
    assert found.chosen < 0.5  # what is missed costs five times as much
    assert found.lines.keys() == {"validation", "test"}
    at = {row.threshold: row for row in found.rows}
    assert found.saving == pytest.approx(at[0.5].cost - at[found.chosen].cost)
    without = replace(table.measurement, split=Split(held_out="test", test_fraction=0.3))
    assert thresholds(replace(table, measurement=without)).chosen_on == "train"


def test_slices_begin_with_the_one_that_is_surely_bad(table):
    wrong = pl.when(pl.col("raw.town") == "Bern").then(pl.lit("yes")).otherwise("target").alias("prediction")
    bad = table.outcomes.with_columns(
        wrong, target=pl.when(pl.col("raw.town") == "Bern").then(pl.lit("no")).otherwise("target")
    )
    found = slices(replace(table, outcomes=bad))
    assert found is not None
    assert (found.shown[0].by, found.shown[0].value, found.shown[0].metric) == ("town", "Bern", 0.0)
    parts = {(row.by, row.value): row.rows for row in found.shown}
    assert parts[("town", "Bern")] == (table.outcomes["raw.town"] == "Bern").sum()
    assert sum(rows for (by, _), rows in parts.items() if by == "age") == bad.height
    assert ("age", "missing") in parts


def test_slices_of_a_number_are_worst_where_the_error_is_largest(number):
    far = number.outcomes.with_columns(
        prediction=pl.when(number.measurement.rows["x"] > 1).then(pl.col("target") + 9).otherwise("target")
    )
    found = slices(replace(number, outcomes=far))
    assert found is not None
    assert found.metric == "root_mean_squared_error"
    assert found.shown[0].by == "x"
    assert found.shown[0].value.endswith(f"{number.measurement.rows['x'].max():.4g}")


def test_importance_is_nothing_for_a_column_that_the_model_does_not_use(table):
    found = importance(table)
    assert found is not None
    by_name = {one.column: one for one in found.columns}
    assert [one.column for one in found.columns] == ["age", "town", "noise"]
    assert by_name["noise"].rise == 0
    assert not by_name["noise"].matters
    assert by_name["age"].matters
    assert by_name["age"].rise > by_name["town"].rise > 0
    assert found == importance(table)


def test_importance_is_bounded_and_can_be_left_out(table):
    few = importance(replace(table, settings=Evaluate(importance=ImportanceSettings(maximum_rows=50, repeats=2))))
    assert few is not None
    assert (few.rows, few.repeats) == (50, 2)
    assert importance(replace(table, settings=Evaluate(importance=ImportanceSettings(repeats=0)))) is None


def test_importance_predicts_no_more_rows_however_wide_and_long_a_table_is(make_subject):
    """A count, and no clock: the page of a slow machine is that of a fast one."""
    names = [f"column_{number}" for number in range(60)]
    draw, count = np.random.default_rng(0), 5000
    rows = pl.DataFrame(
        {"example_id": pl.Series(range(count), dtype=pl.UInt64)} | dict.fromkeys(names, draw.random(count))
    )
    rows = rows.with_columns(pl.when(pl.col(names[0]) > 0.5).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("buys"))
    predicted = []

    def of(inputs):
        first = inputs[names[0]][:, :1]
        predicted.append(len(first))
        return np.concatenate([1 - first, first], axis=1)

    label = CategoryLabel(name="buys", classes=("no", "yes"))
    subject = make_subject(rows, of, features={name: NumberFeature() for name in names}, label=label)
    predicted.clear()
    found = importance(subject)
    assert (found.rows, len(found.columns), found.left_out) == (500, 40, 20)
    assert sum(predicted) == 500 + 40 * 5 * 500


def test_a_model_of_one_input_has_no_importance(images):
    assert importance(images) is None


def test_images_made_of_noise_are_outcomes_of_no_row(table):
    """Of such a model rows have ids alone, and its input is no feature."""
    noise = replace(table.measurement, model=SimpleNamespace(input={"noise": None}))
    generated = replace(table, measurement=noise, outcomes=table.outcomes.select("example_id"))
    assert [make(generated) for make in (baselines, slices, importance)] == [None] * 3


def test_calibration_says_in_which_direction_it_errs():
    confidence = np.full(100, 0.9)
    sure = calibration(CurveTable("calibration", "", calibration_points(confidence, np.arange(100) < 60)))
    assert sure.gap == pytest.approx(0.3)
    assert "surer of its predictions than it is right, by 0.300" in sure.verdict
    unsure = calibration(CurveTable("calibration", "", calibration_points(confidence, np.full(100, fill_value=True))))
    assert "less sure of its predictions than it is right, by 0.100" in unsure.verdict


def test_curves_are_short_tables_that_keep_their_ends(table, number, images):
    names = {curve.name: curve for curve in curves(table)}
    assert list(names) == ["roc", "precision_recall", "calibration"]
    assert names["roc"].points.rows()[0] == (0, 0)
    assert names["roc"].points.rows()[-1] == (1, 1)
    assert names["calibration"].points["rows"].sum() == table.outcomes.height
    [errors] = curves(number)
    assert errors.points["share_of_rows"][-1] == 1
    assert errors.points["absolute_error"].is_sorted()
    assert names["roc"].area == pytest.approx(
        roc_auc_score(table.outcomes["target"] == "yes", table.outcomes["probability_yes"])
    )
    of_any_class = {curve.name: curve for curve in curves(images)}
    truth = images.outcomes["target"].to_numpy()[:, np.newaxis] == np.array(images.task.classes)
    scores = images.outcomes.select(f"probability_{name}" for name in images.task.classes).to_numpy()
    assert of_any_class["roc"].area == pytest.approx(roc_auc_score(truth, scores, average="micro"))
    expected = average_precision_score(truth, scores, average="micro")
    assert of_any_class["precision_recall"].area == pytest.approx(expected)
    assert of_any_class["roc"].chance == pytest.approx(1 / 3)
    assert all(curve.points.height <= 200 and curve.shown.height <= 15 for curve in [*names.values(), errors])


def test_a_heat_map_is_blue_for_and_orange_against():
    adds = np.zeros((2, 2))
    adds[0, 0], adds[1, 1] = 1, -1
    heat = heat_map(np.zeros((2, 2), np.uint8), adds)
    assert heat[0, 0].tolist() == [0, 114, 178]
    assert heat[1, 1].tolist() == [213, 94, 0]
    assert heat[0, 1].tolist() == [190, 190, 190]
