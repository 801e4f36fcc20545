"""Chebyshev polynomials: of all bases of the polynomials of a degree, one that stays well-conditioned."""

from collections.abc import Iterator
from typing import Any


def chebyshev(values: Any, *, degree: int) -> Iterator[Any]:
    """Yield T_1, ..., T_degree of 2 * values - 1, each of the type and shape of `values` (an array or a tensor).

    From 0 to 1 all lie between -1 and 1; outside of it they grow as fast as a polynomial does. They pass on an error of
    `values` up to 2 * degree**2 times as large.
    """
    place = values * 2.0 - 1.0
    before, term = place * 0.0 + 1.0, place
    for _ in range(degree):
        yield term
        before, term = term, place * term * 2.0 - before
