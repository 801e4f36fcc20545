"""Exact intervals of shares: Clopper and Pearson's of one share, and McNemar's of the difference of two."""

import math
from collections.abc import Callable

import numpy as np

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.tasks.row_metrics import Numbers

_HALVINGS = 50


def share_interval(right: int, of: int, *, confidence: float) -> Interval:
    """Clopper and Pearson's interval (1934) of a share, of which `right` of `of` draws had the property."""
    tail = (1 - confidence) / 2
    # The share at which so many or more are as rare as `tail`, and that at which so few or fewer are.
    low = 0.0 if right == 0 else _solve(of, lambda masses: masses[right:].sum() > tail)
    high = 1.0 if right == of else _solve(of, lambda masses: masses[: right + 1].sum() < tail)
    return Interval(low, high, confidence)


def paired_share_interval(better: int, worse: int, *, of: int, confidence: float) -> Interval:
    """Interval of the difference of two shares that are measured on the same `of` rows.

    `better` rows have the property by the first alone, `worse` by the second alone. It leaves 0 out if and only if
    McNemar's exact test (1947), two-sided, rejects that both are equal: of the rows that differ, those that are better
    are binomial. The difference is a product of two shares: of rows that differ and, of these, of those that are
    better. Its ends are made of theirs (MOVER; Zou and Donner, 2008).
    """
    differ = better + worse
    rate = share_interval(differ, of, confidence=confidence)
    if differ == 0:
        return Interval(-rate.high, rate.high, confidence)
    if better < worse:
        mirrored = paired_share_interval(worse, better, of=of, confidence=confidence)
        return Interval(-mirrored.high, -mirrored.low, confidence)
    share = share_interval(better, differ, confidence=confidence)
    balance, measured = (better - worse) / differ, differ / of
    low, high = 2 * share.low - 1, 2 * share.high - 1
    value = balance * measured
    below = math.hypot(measured * (balance - low), balance * (measured - rate.low))
    above = math.hypot(measured * (high - balance), balance * (rate.high - measured))
    # Of a few rows, all of them better, the product of the low ends is closer, and above 0 if the test says so.
    return Interval(max(value - below, low * rate.low) if low > 0 else value - below, value + above, confidence)


def _solve(of: int, is_above: Callable[[Numbers], bool]) -> float:
    """The share at which `is_above` of the binomial masses turns true, to 2^-50."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(_masses(of, middle)) else (middle, high)
    return (low + high) / 2


def _masses(of: int, share: float) -> Numbers:
    """Binomial probabilities of 0 to `of`."""
    numbers = np.arange(of + 1)
    factorials = np.append(0.0, np.cumsum(np.log(np.arange(1, of + 1))))
    choices = factorials[-1] - factorials - factorials[::-1]
    masses: Numbers = np.exp(choices + numbers * math.log(share) + (of - numbers) * math.log1p(-share))
    return masses
