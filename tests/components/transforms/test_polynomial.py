"""The terms of polynomials of a number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.transforms.min_max import FittedMinMax
from headrace.components.transforms.polynomial import FittedPolynomial, Polynomial, chebyshev

MIN_MAX, STANDARDIZE = {"kind": "min_max"}, {"kind": "standardize"}
MEDIAN = {"kind": "impute", "strategy": "median", "indicator": True}


def of_degree(degree):
    return {"kind": "polynomial", "degree": degree}


@pytest.mark.parametrize("degree", [0, 51])
def test_its_degree_has_limits(degree):
    with pytest.raises(ValidationError, match="equal to"):
        Polynomial(degree=degree)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ([of_degree(2)], "put min_max before it"),
        ([MIN_MAX, STANDARDIZE, of_degree(2)], "put min_max before it"),
        ([MIN_MAX, of_degree(2), STANDARDIZE], "standardize can't be applied to a polynomial's terms"),
        ([MIN_MAX, of_degree(2), {"kind": "one_hot"}], "it must be the last transform"),
    ],
)
def test_it_comes_after_min_max_and_last(chain, words, check_one):
    with pytest.raises(ParamsError, match=words):
        check_one({"type": "number"}, chain)
    check_one({"type": "number"}, [MIN_MAX, of_degree(2)])


@pytest.mark.parametrize("degree", [1, 4, 15])
def test_the_terms_are_chebyshev_polynomials(degree):
    values = np.linspace(-0.2, 1.2, 50)
    expected = np.polynomial.chebyshev.chebvander(2 * values - 1, degree)[:, 1:]
    np.testing.assert_allclose(np.stack(list(chebyshev(values, degree=degree)), axis=1), expected, atol=1e-8)


def test_a_column_for_each_degree_comes_before_an_indicator(fit_one):
    fitted = fit_one([1.0, None, 3.0], [MEDIAN, MIN_MAX, of_degree(3)], NumberFeature(nullable=True))
    assert fitted.transforms[1:] == (FittedMinMax(minimum=1, maximum=3), FittedPolynomial(degree=3))
    assert fitted.shape == (4,)


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    assert_chains_agree(data, numbers=[[MIN_MAX, of_degree(1)], [MEDIAN, MIN_MAX, of_degree(2)]])
