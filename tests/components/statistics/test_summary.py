"""Summaries of columns: true to the last bit, and the same however the rows are dealt out."""

import math
import statistics
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.components.statistics.sketch import count_in_bins, value_at
from headrace.components.statistics.summary import (
    CategorySummary,
    TableSummary,
    merge_all,
    number_summary,
    present_numbers,
    summarize_categories,
    summarize_images,
    summarize_numbers,
)

SMALLEST, LARGEST = 2.0**-149, float(np.finfo(np.float32).max)
NUMBERS = st.one_of(
    st.none(),
    st.floats(width=32),  # NaN and infinities among them
    st.sampled_from([0.0, -0.0, 1.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 2.0**-126, 1 + 2.0**-23]),
)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def partitions(draw, values):
    """A column, and its rows in another order and in parts, some of them empty."""
    rows = draw(st.lists(values, max_size=40))
    shuffled = draw(st.permutations(rows))
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    parts = [shuffled[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    return rows, draw(st.permutations(parts))


def merged(summaries):
    return merge_all(TableSummary(one.rows, {"x": one}) for one in summaries).columns["x"]


@settings(deadline=None, max_examples=150)
@given(partitions(NUMBERS))
def test_numbers_are_the_same_in_any_parts_and_order(rows_and_parts):
    whole, *parts = (
        summarize_numbers(pl.Series(rows, dtype=pl.Float32), sketch=True)
        for rows in (rows_and_parts[0], *rows_and_parts[1])
    )
    assert merged(parts) == whole
    assert repr(merged(parts).minimum) == repr(whole.minimum)  # 0 and -0 are equal


@settings(deadline=None, max_examples=100)
@given(partitions(st.none() | st.text(max_size=2)), st.integers(1, 12))
def test_categories_are_the_same_in_any_parts_and_order(rows_and_parts, limit):
    whole, *parts = (
        summarize_categories(pl.Series(rows, dtype=pl.String), limit=limit)
        for rows in (rows_and_parts[0], *rows_and_parts[1])
    )
    assert merged(parts) == whole
    different = len(set(rows_and_parts[0]) - {None})
    assert (whole.counts is None) == (different > limit)


@settings(deadline=None, max_examples=50)
@given(partitions(st.tuples(*[st.integers(0, 255)] * 3)))
def test_images_are_the_same_in_any_parts_and_order(rows_and_parts):
    whole, *parts = (
        summarize_images(pl.Series(rows, dtype=pl.Array(pl.UInt8, 3)))
        for rows in (rows_and_parts[0], *rows_and_parts[1])
    )
    assert merged(parts) == whole
    pixels = np.array(rows_and_parts[0], dtype=np.float64)
    if pixels.size:
        assert (whole.minimum, whole.maximum) == (pixels.min(), pixels.max())
        assert (whole.mean, whole.standard_deviation) == pytest.approx((pixels.mean(), pixels.std()))
    else:
        assert (whole.minimum, whole.maximum, whole.mean, whole.standard_deviation) == (None,) * 4


@settings(deadline=None, max_examples=150)
@given(st.lists(FINITE, min_size=1, max_size=40))
def test_sums_are_exact_whatever_is_added(values):
    exact = [Fraction(value) for value in values]
    summary = summarize_numbers(pl.Series(values, dtype=pl.Float32))
    assert Fraction(summary.total, 2**149) == sum(exact)
    assert Fraction(summary.total_of_squares, 2**298) == sum(value**2 for value in exact)
    assert summary.mean == float(statistics.mean(exact))
    assert summary.standard_deviation == math.sqrt(statistics.pvariance(exact))


@pytest.mark.parametrize(
    "values",
    [
        np.full(9000, LARGEST),  # each block's sums reach the last bit that float64 has
        np.full(9000, -LARGEST),
        np.full(9000, 1 + 2.0**-23),
        np.tile([LARGEST, SMALLEST, -1.0], 3000),
        np.exp2(np.random.default_rng(1).uniform(-149, 127, 9000)),
        np.random.default_rng(2).normal(1e6, 1e-2, 20_000),
    ],
)
def test_sums_of_many_values_are_exact(values):
    values = values.astype(np.float32)
    summary = summarize_numbers(pl.Series(values))
    units = [int(Fraction(float(value)) * 2**149) for value in values]
    assert (summary.total, summary.total_of_squares) == (sum(units), sum(unit**2 for unit in units))


def test_a_small_deviation_beside_a_large_mean_is_not_lost():
    values = pl.Series([1e6, 1e6 + 0.0625, 1e6 + 0.125] * 1000)
    assert summarize_numbers(values).standard_deviation == pytest.approx(0.0625 * math.sqrt(2 / 3), rel=1e-15)


def test_what_float32_cannot_hold_is_in_the_extremes_only():
    summary = summarize_numbers(pl.Series([1e39, -1e39, 1.0, 3.0, None, float("nan")]))
    assert (summary.missing, summary.infinite, summary.mean) == (2, 2, 2.0)
    assert (summary.minimum, summary.maximum) == (-math.inf, math.inf)


def test_a_column_without_values_has_no_mean():
    summary = summarize_numbers(pl.Series([None, None], dtype=pl.Float64), sketch=True)
    assert (summary.minimum, summary.mean, summary.standard_deviation, summary.quantile(0.5)) == (None,) * 4


@settings(deadline=None, max_examples=100)
@given(st.lists(NUMBERS, min_size=1, max_size=40), FINITE)
def test_filling_the_missing_is_known_without_reading_again(values, fill):
    column = pl.Series(values, dtype=pl.Float32)
    filled = summarize_numbers(column.fill_nan(None).fill_null(fill))
    assert summarize_numbers(column, sketch=True).filled(fill) == filled


@settings(deadline=None, max_examples=100)
@given(st.lists(NUMBERS, max_size=40))
def test_counts_of_numbers_are_enough_for_their_summary(values):
    column = pl.Series(values, dtype=pl.Float32)
    counted = summarize_categories(column, limit=100)
    assert isinstance(counted, CategorySummary)
    assert number_summary(counted.counts) == summarize_numbers(pl.Series(present_numbers(column)))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_off_by_less_than_a_128th(values, fraction):
    summary = summarize_numbers(pl.Series(values, dtype=pl.Float32), sketch=True)
    exact = sorted(values)[math.floor(fraction * (len(values) - 1))]
    found = summary.quantile(fraction)
    assert found == exact or abs(found - exact) <= max(abs(exact) * 2**-7, 2.0**-133)


@settings(deadline=None, max_examples=150)
@given(st.lists(NUMBERS, min_size=1, max_size=60), st.data())
def test_the_second_look_finds_the_value_at_a_rank(values, data):
    numbers = present_numbers(pl.Series(values, dtype=pl.Float32))
    assume(len(numbers))
    rank = data.draw(st.integers(0, len(numbers) - 1))
    ranks = [rank, min(rank + 1, len(numbers) - 1)]
    sketch = summarize_numbers(pl.Series(numbers), sketch=True).sketch
    counts = count_in_bins(numbers, set(sketch.bins_at(ranks)))
    assert [value_at(one, sketch, counts) for one in ranks] == np.sort(numbers)[ranks].tolist()


@settings(deadline=None, max_examples=100)
@given(st.lists(FINITE, min_size=1, max_size=40))
def test_values_are_counted_up_to_the_bin_of_another(values):
    numbers = present_numbers(pl.Series(values, dtype=pl.Float32))
    summary = summarize_numbers(pl.Series(numbers), sketch=True)
    middle = summary.quantile(0.5)
    (up_to,) = summary.sketch.count_up_to([middle])
    assert (numbers <= middle).sum() <= up_to
    assert summary.sketch.count_up_to([numbers.max()]) == [len(numbers)]
