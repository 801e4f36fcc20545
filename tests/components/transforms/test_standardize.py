"""Numbers of mean 0 and standard deviation 1."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.transforms.standardize import FittedStandardize

STANDARDIZE = {"kind": "standardize"}
MEDIAN = {"kind": "impute", "strategy": "median", "indicator": True}


def test_it_takes_mean_and_population_deviation(fit_one):
    fitted = fit_one([1.0, 2.0, 3.0, 6.0], [STANDARDIZE], NumberFeature())
    assert fitted.transforms == (FittedStandardize(mean=3.0, standard_deviation=math.sqrt(3.5)),)
    assert fitted.shape == (1,)


@pytest.mark.parametrize("value", [0.1, 1e30, -5.0, 0.0])
def test_a_constant_column_has_deviation_0(value, fit_one):
    (fitted,) = fit_one([value] * 7, [STANDARDIZE], NumberFeature()).transforms
    assert fitted.standard_deviation == 0
    assert fitted.mean == pytest.approx(value)


def test_numbers_that_float32_cannot_distinguish_are_constant(fit_one):
    (fitted,) = fit_one([1e9, 1e9 + 1, 1e9 + 2], [STANDARDIZE], NumberFeature()).transforms
    assert fitted == FittedStandardize(mean=1e9, standard_deviation=0)


@pytest.mark.parametrize("values", [[1e-38, 2e-38, 3e-38], [0.0] * 9_999 + [2e-30]])
def test_what_float32_has_no_room_to_divide_by_is_no_spread(values, fit_one):
    """Its inverse, or the square of that, is infinite."""
    (fitted,) = fit_one(values, [STANDARDIZE], NumberFeature()).transforms
    assert (fitted.mean, fitted.standard_deviation) == (pytest.approx(values[0], rel=1e-6), 0)


def test_numbers_too_large_for_float32_are_named(fit_one):
    with pytest.raises(DataError, match=r"x: .* too large for float32"):
        fit_one([1e39, 0.0], [STANDARDIZE], NumberFeature())


def test_after_impute_the_filled_values_count(fit_one):
    fitted = fit_one([1.0, None, 4.0, 4.0, None, 4.0], [MEDIAN, STANDARDIZE], NumberFeature(nullable=True))
    assert fitted.transforms[1].mean == pytest.approx(3.5)
    assert fitted.shape == (2,)


def test_ranks_are_standardized_with_0_for_the_missing(fit_one):
    fitted = fit_one(["b", None, "a", "b"], [{"kind": "ordinal"}, STANDARDIZE], CategoryFeature())
    assert fitted.transforms[1].mean == (2 + 0 + 1 + 2) / 4


def test_it_subtracts_then_divides(applied):
    x = applied([1.0, 3.0, 5.0], NumberFeature(), FittedStandardize(mean=3, standard_deviation=2))
    assert x.dtype == pl.Float32
    assert x.to_list() == [-1, 0, 1]


def test_a_constant_column_becomes_0_whatever_else_comes_later(applied):
    assert applied([3.0, 9.0], NumberFeature(), FittedStandardize(mean=3, standard_deviation=0)).to_list() == [0, 0]


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    ordinal, min_max = {"kind": "ordinal"}, {"kind": "min_max"}
    numbers = [[STANDARDIZE], [min_max, STANDARDIZE], [MEDIAN, STANDARDIZE]]
    assert_chains_agree(data, numbers=numbers, categories=[[ordinal, STANDARDIZE]])
