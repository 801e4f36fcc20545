"""Numbers from 0 to 1."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.transforms.min_max import FittedMinMax

MIN_MAX = {"kind": "min_max"}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent"}


def test_it_takes_the_extremes(fit_one):
    assert fit_one([3.0, -1.0, 2.0], [MIN_MAX], NumberFeature()).transforms == (FittedMinMax(minimum=-1, maximum=3),)


def test_what_float32_has_no_room_to_divide_by_is_no_range(fit_one):
    (fitted,) = fit_one([1e-38, 2e-38, 3e-38], [MIN_MAX], NumberFeature()).transforms
    assert fitted.minimum == fitted.maximum == pytest.approx(1e-38, rel=1e-6)


def test_numbers_too_large_for_float32_are_named(fit_one):
    with pytest.raises(DataError, match=r"x: .* too large for float32"):
        fit_one([1e39, 0.0], [MIN_MAX], NumberFeature())


def test_it_does_not_clip(applied):
    x = applied([0.0, 2.0, 5.0], NumberFeature(), FittedMinMax(minimum=0, maximum=4))
    assert x.to_list() == [0, 0.5, 1.25]


def test_a_constant_column_becomes_0_whatever_else_comes_later(applied):
    assert applied([3.0, 9.0], NumberFeature(), FittedMinMax(minimum=3, maximum=3)).to_list() == [0, 0]


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    indicated, ordinal = {**MOST_FREQUENT, "indicator": True}, {"kind": "ordinal"}
    numbers = [[MIN_MAX], [MIN_MAX, {"kind": "standardize"}], [MOST_FREQUENT, MIN_MAX]]
    assert_chains_agree(data, numbers=numbers, categories=[[indicated, ordinal, MIN_MAX]])
