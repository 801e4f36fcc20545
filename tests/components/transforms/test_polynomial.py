import numpy as np
import pytest

from headrace.components.errors import ParamsError
from headrace.components.examples.settings import NumberFeature
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.polynomial import chebyshev
from headrace.components.transforms.settings import MinMax, OneHot, Polynomial, Standardize


@pytest.mark.parametrize("degree", [1, 4, 15])
def test_the_terms_are_chebyshev_polynomials(degree):
    values = np.linspace(-0.2, 1.2, 50)
    expected = np.polynomial.chebyshev.chebvander(2 * values - 1, degree)[:, 1:]
    np.testing.assert_allclose(np.stack(list(chebyshev(values, degree=degree)), axis=1), expected, atol=1e-8)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Polynomial(degree=2)], "put min_max before it"),
        ([MinMax(), Standardize(), Polynomial(degree=2)], "put min_max before it"),
        ([MinMax(), Polynomial(degree=2), Standardize()], "standardize can't be applied to a polynomial's terms"),
        ([MinMax(), Polynomial(degree=2), OneHot()], "it must be the last transform"),
    ],
)
def test_it_comes_after_min_max_and_last(steps, words):
    with pytest.raises(ParamsError, match=words):
        check({"x": NumberFeature()}, {"x": steps})
    check({"x": NumberFeature()}, {"x": [MinMax(), Polynomial(degree=2)]})
