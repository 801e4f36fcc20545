"""A value wherever one is missing."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.transforms.impute import FittedImpute, Impute
from headrace.components.transforms.one_hot import FittedOneHot
from headrace.components.transforms.standardize import FittedStandardize

MEDIAN = {"kind": "impute", "strategy": "median", "indicator": True}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent"}
STANDARDIZE, ONE_HOT = {"kind": "standardize"}, {"kind": "one_hot"}
NUMBER = {"type": "number"}
NULLABLE = {"type": "number", "nullable": True}
CATEGORY = {"type": "category"}
IMAGE = {"type": "image", "height": 2, "width": 2}


def test_it_has_no_other_strategies():
    with pytest.raises(ValidationError, match="'median' or 'most_frequent'"):
        Impute(strategy="mean")


@pytest.mark.parametrize(
    ("feature", "chain", "message"),
    [
        (NUMBER, [STANDARDIZE, MEDIAN], "impute must be the first"),
        (NUMBER, [MEDIAN, MEDIAN], "impute must be the first"),
        (NULLABLE, [STANDARDIZE], "nullable, so its first transform must be impute"),
        (NULLABLE, [], "nullable"),
        (CATEGORY, [MEDIAN, ONE_HOT], "a category has no median; use impute with strategy: most_frequent"),
        (IMAGE, [MEDIAN], "impute fills numbers and categories, not images"),
        (CATEGORY, [MOST_FREQUENT], "add one_hot or ordinal"),
    ],
)
def test_it_is_the_first_and_of_what_may_be_missing(feature, chain, message, check_one):
    with pytest.raises(ParamsError, match=message):
        check_one(feature, chain)


@pytest.mark.parametrize(
    ("feature", "chain"),
    [
        (NUMBER, [MEDIAN, STANDARDIZE]),  # not nullable in training, yet may be missing when it is served
        (NULLABLE, [MOST_FREQUENT, {"kind": "min_max"}]),
        (CATEGORY, [MOST_FREQUENT, ONE_HOT]),
    ],
)
def test_others_may_follow(feature, chain, check_one):
    check_one(feature, chain)


def test_the_median_counts_present_values(fit_one):
    fitted = fit_one([1.0, None, 4.0, 4.0, None, 4.0], [MEDIAN, STANDARDIZE], NumberFeature(nullable=True))
    assert fitted.transforms[0] == FittedImpute(value=4.0, indicator=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", None, "b"], "b"),
        (["b", "a", "a", "b", None, None, None], "a"),  # a tie, and missing is no value
        (["b", "", "", ""], "b"),  # empty text is missing, as it is for a Keras model
    ],
)
def test_the_most_frequent_category_fills_and_of_equals_the_smallest(values, expected, fit_one):
    fitted = fit_one(values, [MOST_FREQUENT, ONE_HOT], CategoryFeature(nullable=True))
    assert fitted.transforms[0].value == expected
    assert fitted.transforms[1].categories == tuple(sorted({value for value in values if value}))


def test_the_most_frequent_number_of_equals_is_the_smallest(fit_one):
    fitted = fit_one([7.0, None, 3.0, 3.0, 7.0], [MOST_FREQUENT], NumberFeature(nullable=True))
    assert fitted.transforms[0].value == 3.0


def test_a_column_without_any_value_is_named(fit_one):
    with pytest.raises(DataError, match="x: missing in every training example"):
        fit_one(pl.Series([None, None], dtype=pl.Float64), [MEDIAN], NumberFeature())


@pytest.mark.parametrize("strategy", ["median", "most_frequent"])
def test_no_infinity_is_filled_in(strategy, fit_one):
    with pytest.raises(DataError, match=r"x: .* too large for float32"):
        fit_one([1e39, 1e39, None], [{"kind": "impute", "strategy": strategy}], NumberFeature(nullable=True))


@pytest.mark.parametrize(
    "chain",
    [
        [{"kind": "impute", "strategy": "median"}, STANDARDIZE],
        [MOST_FREQUENT, STANDARDIZE],
        [{"kind": "impute", "strategy": "median"}, {"kind": "min_max"}, STANDARDIZE],
    ],
)
def test_what_is_known_without_reading_again_is_what_reading_again_would_give(chain, fit_one, applied):
    values, feature = (
        pl.Series([0.1, None, 2.5, 2.5, float("nan"), -7.0], dtype=pl.Float64),
        NumberFeature(nullable=True),
    )
    *before, last = fit_one(values, chain, feature).transforms
    given = applied(values, feature, *before)
    assert last == fit_one(given, chain[-1:], NumberFeature()).transforms[0]


def test_the_indicator_of_a_number_is_last_and_untransformed(applied):
    impute, standardize = FittedImpute(value=4.0, indicator=True), FittedStandardize(mean=2, standard_deviation=2)
    x = applied([None, 0.0, float("nan")], NumberFeature(nullable=True), impute, standardize, width=2)
    assert x.dtype == pl.Array(pl.Float32, 2)
    assert x.to_list() == [[1, 1], [-1, 0], [1, 1]]


def test_a_category_goes_to_its_value_and_has_its_indicator_last(applied):
    impute = FittedImpute(value="b", indicator=True)
    x = applied(["?", None, ""], CategoryFeature(), impute, FittedOneHot(categories=("a", "b")), width=4)
    assert x.to_list() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    indicated, ordinal, min_max = {**MOST_FREQUENT, "indicator": True}, {"kind": "ordinal"}, {"kind": "min_max"}
    numbers = [[MEDIAN], [MEDIAN, STANDARDIZE], [MOST_FREQUENT, min_max]]
    categories = [[MOST_FREQUENT, ONE_HOT], [indicated, ONE_HOT], [indicated, ordinal, min_max]]
    assert_chains_agree(data, numbers=numbers, categories=categories)
