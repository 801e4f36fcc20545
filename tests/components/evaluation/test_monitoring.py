"""Drift and quality of predictions: alerts of what has changed, and few of what has not."""

import numpy as np
import polars as pl
import pytest

from headrace.components.evaluation.monitor_settings import Monitor
from headrace.components.evaluation.monitoring import (
    drift_findings,
    features_of,
    prediction_columns,
    quality,
    reference_of,
)
from headrace.components.evaluation.paired import change
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.statistics.profile import profile_of, summarize_table
from headrace.components.tasks.outcome_rows import category_rows, number_rows
from headrace.components.tasks.variants import task_of

LABEL = CategoryLabel(name="side", classes=("tails", "heads"))
TASK = task_of(LABEL)
FEATURES = {"x": NumberFeature(nullable=True), "c": CategoryFeature(nullable=True), "y": NumberFeature()}


def inputs(rows: int, *, seed: int, shift: float = 0.0, missing: float = 0.0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(shift, 1, rows)
    x[random.random(rows) < missing] = np.nan
    return pl.DataFrame({"x": x, "c": random.choice(["a", "b", "c"], rows), "y": random.exponential(1, rows)})


def outcomes(rows: int, *, seed: int, right: float = 0.8, heads: float = 0.5) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    predicted = (random.random(rows) < heads).astype(int)
    labels = np.where(random.random(rows) < right, predicted, 1 - predicted)
    probability = np.where(predicted == 1, 0.8, 0.2) + random.uniform(-0.1, 0.1, rows)
    table = category_rows(labels, np.stack([1 - probability, probability], axis=1), label=LABEL)
    metal = pl.Series("raw.metal", random.choice(["gold", "tin"], rows))
    return pl.concat(
        [pl.DataFrame({"example_id": np.arange(rows, dtype=np.uint64)}), table, metal.to_frame()], how="horizontal"
    )


REFERENCE = reference_of(profile_of(summarize_table(inputs(5000, seed=1), columns=FEATURES)), outcomes(1000, seed=1))


def findings(table: pl.DataFrame, predicted: pl.DataFrame, **settings) -> list:
    predictions = prediction_columns(predicted)
    return drift_findings(
        REFERENCE,
        inputs=summarize_table(table, columns=FEATURES),
        predictions=summarize_table(predictions, columns=features_of(predictions)),
        labels=None,
        settings=Monitor.model_validate(settings),
    )


def alerts(found: list) -> list[str]:
    return [one.sentence for one in found if one.level == "alert"]


@pytest.mark.parametrize("rows", [20, 100, 400])
def test_of_samples_in_which_nothing_has_changed_few_alert(rows: int) -> None:
    """Limits so low that chance alone decides: all looks together alert in 5 % of the samples, whatever their size."""
    limits = dict.fromkeys(("psi", "prediction_psi", "mean", "missing"), 0.0)
    settings = {"drift": {"warn": limits, "alert": limits}, "minimum_rows": 1}
    count = sum(
        any(
            "new_categories" not in one
            for one in alerts(findings(inputs(rows, seed=seed), outcomes(rows, seed=seed), **settings))
        )
        for seed in range(100, 200)
    )
    assert count <= 12


def test_what_has_changed_alerts_by_its_column_and_measure() -> None:
    moved = alerts(findings(inputs(500, seed=2, shift=1.5, missing=0.3), outcomes(500, seed=2, heads=0.95)))
    found = {" ".join(one.split()[:2]) for one in moved}
    assert found == {"x: missing", "x: psi", "prediction: prediction_psi"}


def test_a_limit_that_is_crossed_by_chance_is_said_and_no_alert() -> None:
    found = findings(inputs(15, seed=8, shift=0.5), outcomes(15, seed=8), minimum_rows=1)
    assert not [one for one in alerts(found) if one.startswith("x: psi")]
    assert any("which 15 rows give by chance" in one.sentence for one in found)


def test_quality_is_judged_over_all_rows_and_slices_with_one_confidence() -> None:
    worse = outcomes(2000, seed=3, right=0.8)
    spoilt = pl.when(pl.col("raw.metal") == "gold").then(pl.lit("tails")).otherwise("target").alias("target")
    worse = worse.with_columns(spoilt)
    settings = Monitor.model_validate(
        {
            "thresholds": {"accuracy": {"minimum": 0.5}},
            "guards": {"accuracy": {"worse_by": 0.05}},
            "slices": [{"by": "metal", "guards": {"accuracy": {"worse_by": 0.05}}}],
        }
    )
    found = quality(TASK, worse, REFERENCE.outcomes, settings)
    said = [one.sentence for one in found.findings if one.level == "alert"]
    assert any(one.startswith("metal gold: accuracy -") for one in said)
    assert not any(one.startswith("metal tin") for one in said)
    assert any("all rows: accuracy 0.6" in one.sentence and "98.75 %" in one.sentence for one in found.findings)
    assert set(found.intervals) <= set(found.metrics)
    same = quality(TASK, outcomes(2000, seed=4), REFERENCE.outcomes, settings)
    assert not [one for one in same.findings if one.level == "alert"]
    few = quality(TASK, worse[:50], REFERENCE.outcomes, settings)
    assert not [one for one in few.findings if one.level == "alert"]
    assert "50 labels are fewer than monitor.minimum_rows: metrics are not judged" in [
        one.sentence for one in few.findings
    ]


def test_the_interval_of_a_change_holds_as_often_as_it_says() -> None:
    holds = 0
    for seed in range(200):
        found = change(TASK, outcomes(300, seed=seed), outcomes(200, seed=seed + 1000), "accuracy", confidence=0.9)
        holds += found.interval.low <= 0 <= found.interval.high
    assert holds >= 0.85 * 200


def test_numbers_and_probabilities_are_the_columns_of_predictions() -> None:
    numbers = number_rows(np.array([1.0, 2.0]), np.array([1.5, 2.5]))
    assert prediction_columns(numbers).to_dict(as_series=False) == {"prediction": [1.5, 2.5]}
    predicted = prediction_columns(outcomes(5, seed=1))
    assert predicted.columns == ["prediction", "probability"] and predicted["probability"].min() >= 0.5
    scored = task_of(NumberLabel(name="d")).scored(pl.DataFrame({"prediction": [1.0]}), pl.DataFrame({"d": [3.0]}))
    assert scored.row(0) == (3.0, 1.0, 4.0)


def test_pixels_of_images_are_no_rows_of_their_own() -> None:
    """A few images of the same kind are no alert, however many pixels they have; darker ones are."""
    features = {"image": ImageFeature(height=8, width=8)}

    def images(rows: int, *, seed: int, dark: int = 0) -> pl.DataFrame:
        random = np.random.default_rng(seed)
        each = random.integers(60, 200, (rows, 1)) + random.integers(-20, 20, (rows, 64)) - dark
        return pl.DataFrame({"image": pl.Series(each.clip(0, 255).astype(np.uint8), dtype=pl.Array(pl.UInt8, 64))})

    inputs_before = profile_of(summarize_table(images(500, seed=1), columns=features))
    reference = reference_of(inputs_before, outcomes(200, seed=1))

    def found(table: pl.DataFrame) -> list[str]:
        predictions = summarize_table(pl.DataFrame(), columns={})
        now = summarize_table(table, columns=features)
        settings = Monitor(minimum_rows=1)
        return alerts(drift_findings(reference, inputs=now, predictions=predictions, labels=None, settings=settings))

    assert found(images(15, seed=2)) == []
    assert [one.split(" ")[:2] for one in found(images(100, seed=3, dark=60))] == [["image:", "psi"]]
