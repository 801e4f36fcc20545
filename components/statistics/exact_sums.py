"""Sums of float32 values without any rounding, so that they depend neither on order nor on how rows are dealt out."""

import math

import numpy as np

FLOAT32_EXPONENT = 149  # every finite float32 is a whole multiple of 2**-149

_BLOCK = 1 << 13  # within a core's cache, and below the length from which OpenBLAS starts threads for a dot product
_BITS = 20  # squares of 20 bits, added _BLOCK = 2**13 times, just fit in the 53 bits of a float64


def exact_sums(values: np.ndarray) -> tuple[int, int]:
    """Return the sum of finite float32 values in units of 2**-149, and that of their squares in units of 2**-298.

    Error-free extraction as in Demmel and Nguyen, "Fast reproducible floating-point summation" (2013): each value is
    cut into two parts of 20 bits below the block's largest, whose sums and products float64 holds exactly. Values too
    small to end within 40 bits wait for a turn among themselves.
    """
    total = squares = 0
    for begin in range(0, len(values), _BLOCK):
        waiting = values[begin : begin + _BLOCK].astype(np.float64)
        while (largest := max(waiting.max(initial=0), -waiting.min(initial=0))) > 0:
            exponent = math.frexp(largest)[1]
            upper = _rounded(waiting, exponent - _BITS)
            lower = waiting - upper
            fits = _rounded(lower, exponent - 2 * _BITS) == lower
            if whole := bool(fits.all()):
                total += _integer(waiting.sum(), FLOAT32_EXPONENT)
            else:
                upper *= fits
                lower *= fits
                total += _integer(upper.sum(), FLOAT32_EXPONENT) + _integer(lower.sum(), FLOAT32_EXPONENT)
            squares += _product(upper, upper) + 2 * _product(upper, lower) + _product(lower, lower)
            if whole:
                break
            waiting = waiting[~fits]
    return total, squares


def _rounded(values: np.ndarray, exponent: int) -> np.ndarray:
    """The values rounded to multiples of 2**exponent: a large number shifts the other bits out."""
    shift = math.ldexp(1.5, exponent + 52)
    rounded = values + shift
    rounded -= shift
    return rounded


def _product(left: np.ndarray, right: np.ndarray) -> int:
    return _integer(np.dot(left, right), 2 * FLOAT32_EXPONENT)


def _integer(value: float, exponent: int) -> int:
    """The value in units of 2**-exponent."""
    return int(math.ldexp(float(value), exponent))
