"""Drift between two versions of a table."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.evaluation.drift import Drift, VersionProfile, compare, population_stability_index
from headrace.components.evaluation.settings import DriftLimits
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.statistics.profile import profile_of, summarize_table

COLUMNS = {"x": NumberFeature(nullable=True), "c": CategoryFeature(nullable=True), "y": CategoryFeature()}


def table(rows=4000, *, seed=1, shift=0.0, scale=1.0, yes=0.5):
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "x": random.normal(10 + shift, scale, rows),
            "c": random.choice(["a", "b", "c"], rows),
            "y": np.where(random.random(rows) < yes, "yes", "no"),
        }
    )


def drift_between(before, now, *, columns=COLUMNS, columns_before=None, **limits) -> Drift:
    previous = profile_of(summarize_table(before, columns=columns_before or columns))
    summary = summarize_table(now, columns=columns)
    found = compare(previous, summary, label="y", limits=DriftLimits.model_validate(limits))
    assert Drift.model_validate_json(found.model_dump_json()) == found
    return found


def value(drift, measure, column=None):
    return next(one.value for one in drift.shifts if (one.measure, one.column) == (measure, column))


def reported(drift):
    return {(one.measure, one.column) for one in drift.shifts if one.verdict != "ok"}


def test_the_same_table_has_not_moved():
    drift = drift_between(table(), table())
    assert {one.value for one in drift.shifts if one.measure != "rows"} == {0}
    assert reported(drift) == set()


def test_another_sample_of_the_same_is_not_reported():
    assert reported(drift_between(table(), table(seed=2, rows=3000))) == set()


CHANGES = [
    (table(seed=2, shift=2), {("mean", "x"), ("quantile", "x"), ("psi", "x")}),
    (table(seed=2, scale=3), {("quantile", "x"), ("psi", "x")}),  # the mean is where it was
    (table(seed=2, yes=0.8), {("label_psi", "y")}),
    (table(seed=2, rows=1000), {("rows", None)}),
    (table(seed=2).with_columns(x=pl.when(pl.col("y") == "yes").then("x")), {("missing", "x")}),
    (
        table(seed=2).with_columns(pl.when(pl.col("x") < 9).then(pl.lit("new")).otherwise("c").alias("c")),
        {("new_categories", "c"), ("psi", "c")},
    ),
]


@pytest.mark.parametrize(("now", "expected"), CHANGES)
def test_a_change_is_reported_by_the_measures_that_see_it(now, expected):
    drift = drift_between(table(), now)
    assert reported(drift) == expected
    assert len(drift.above("warn")) == len(expected)


def test_columns_that_come_go_or_change_their_type_are_named():
    before, now = table(), table(seed=2).with_columns(x=pl.lit("high"), z=pl.lit(1.0))
    columns = {"x": CategoryFeature(), "z": NumberFeature(), "y": CategoryFeature()}
    drift = drift_between(before, now, columns=columns, columns_before=COLUMNS)
    assert drift.above("warn") == ["columns 3 (added z, removed c, x is a category, was a number) is above 0"]


def test_a_limit_to_fail_is_above_one_to_warn_and_may_be_set_alone():
    drift = drift_between(table(), table(seed=2, shift=2), fail={"psi": 1.0}, warn={"mean": None, "quantile": 9})
    assert [sentence.split()[:2] for sentence in drift.above("fail")] == [["x:", "psi"]]
    assert drift.above("warn") == []
    assert drift.foremost(1)[0].column == "x"


def test_images_are_compared_by_their_pixels():
    before, now = (
        pl.DataFrame({"image": pl.Series([[bright] * 4, [0] * 4], dtype=pl.Array(pl.UInt8, 4)), "y": ["a", "b"]})
        for bright in (100, 200)
    )
    columns = {"image": ImageFeature(height=2, width=2), "y": CategoryFeature()}
    drift = drift_between(before, now, columns=columns)
    assert value(drift, "mean", "image") == 1  # deviation 50, mean 50 more
    assert value(drift, "psi", "image") > 1


def test_what_is_nearest_to_its_limit_comes_first_and_names_of_any_length_fit():
    now = table(seed=2, shift=0.4).with_columns(pl.lit("n" * 1000).alias("c"))
    first, second, *_, last = drift_between(table(), now).foremost()
    assert (first.column, second.column, last.value) == ("c", "c", 0)
    assert len(second.detail) + len(first.detail) < 200


def test_metrics_are_named_after_measure_and_column():
    metrics = drift_between(table(), table(seed=2)).metrics()
    assert {
        "drift/rows",
        "drift/columns",
        "drift/psi/x",
        "drift/label_psi/y",
        "drift/new_categories/c",
    } < metrics.keys()


def test_what_can_not_be_computed_is_left_out():
    empty = table(0)
    for before, now in ((empty, table()), (table(), empty), (empty, empty)):
        assert all(np.isfinite(one.value) for one in drift_between(before, now).shifts)
    many = table().with_columns(c=pl.int_range(pl.len()).cast(pl.String))
    assert "drift/new_categories/c" not in drift_between(many, many).metrics()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_drift_is_always_finite_and_an_equal_version_never_reported(data):
    number = st.none() | st.floats(width=32) | st.floats()
    row = st.tuples(number, st.none() | st.sampled_from(["a", "b", ""]), st.sampled_from(["yes", "no"]))
    before, now = (
        pl.DataFrame(data.draw(st.lists(row, max_size=15)), schema=table(0).schema, orient="row") for _ in range(2)
    )
    drift_between(before, now)  # JSON has no number for what is not finite
    assert reported(drift_between(before, before)) == set()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=12))
def test_the_index_is_symmetric_and_never_negative(counts):
    before, now = zip(*[(1, 1), *counts], strict=True)
    index = population_stability_index(before, now)
    assert index >= 0
    assert index == pytest.approx(population_stability_index(now, before))


def test_the_index_of_a_known_example():
    assert population_stability_index([50, 50], [80, 20]) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))


def test_the_file_of_a_version_holds_profile_and_drift():
    summary = summarize_table(table(), columns=COLUMNS)
    version = VersionProfile(profile=profile_of(summary), drift=drift_between(table(), table()))
    assert VersionProfile.model_validate_json(version.model_dump_json(indent=2)) == version


def test_an_empty_bin_counts_as_a_ten_thousandth():
    # (0.9999 of 1 and 0.0001 of nothing) against halves, by hand: (q - p) ln(q / p) for both bins.
    expected = (0.5 - 1) * math.log(0.5 / 1) + (0.5 - 1e-4) * math.log(0.5 / 1e-4)
    assert population_stability_index([10, 0], [5, 5]) == pytest.approx(expected, rel=1e-12)
    assert population_stability_index([5, 5], [10, 0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("verdict", ["warn", "fail"])
def test_a_change_that_equals_its_limit_is_within_it(verdict):
    half = table(400).with_columns(x=pl.when(pl.int_range(pl.len()) % 2 == 0).then("x"))
    for limit, above in ((0.5, False), (0.499, True)):
        drift = drift_between(table(400), half, **{verdict: {"missing": limit}})
        assert (
            ("missing", "x") in {(one.measure, one.column) for one in drift.shifts if one.verdict == verdict}
        ) is above
    columns = drift_between(table(400), table(400), fail={"columns": 0})
    assert columns.above("fail") == []
