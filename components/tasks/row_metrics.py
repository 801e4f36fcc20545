"""Metrics as functions of how much each row counts, from which a bootstrap makes intervals.

With all weights 1 each is the metric of `category_outcome`, `number_outcome` or `token_outcome`. Most are functions of
a few sums over the rows, so that thousands of draws are one product of matrices; areas under curves need the order of
scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Resampled = Callable[[Numbers], Numbers]  # weights[draws, clusters] to values[draws]


class RowMetric(Protocol):
    """A metric of rows that may count several times, or not at all."""

    def resampled(self, cluster: NDArray[np.int64], count: int) -> Resampled:
        """The metric for weights float64[draws, count] of the clusters that rows are in; NaN where it has no value."""


@dataclass(frozen=True)
class SumMetric:
    """A metric that is a function of weighted sums of columns, float64[rows, columns]."""

    columns: Numbers
    of_sums: Callable[[Numbers], Numbers]

    def resampled(self, cluster: NDArray[np.int64], count: int) -> Resampled:
        """The metric of sums over clusters, which are summed once."""
        sums = np.stack([np.bincount(cluster, column, count) for column in self.columns.T], axis=1)

        def of(weights: Numbers) -> Numbers:
            with np.errstate(divide="ignore", invalid="ignore"):  # no row, or none of a class: NaN
                return self.of_sums(weights @ sums)

        return of


@dataclass(frozen=True)
class RankMetric:
    """The area under a curve over all thresholds: float[rows] scores, and which rows are positive."""

    scores: Numbers
    positive: NDArray[np.bool_]
    area: Callable[[Numbers, Numbers], Numbers]
    """From weights of positives and of negatives, float64[draws, scores from high to low], to areas[draws]."""

    def resampled(self, cluster: NDArray[np.int64], count: int) -> Resampled:
        """The area for each draw, in which equal scores are one threshold."""
        order = np.argsort(-self.scores, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(self.scores[order])))
        of_row, is_positive = cluster[order], self.positive[order].astype(np.float64)

        def of(weights: Numbers) -> Numbers:
            each = weights[:, of_row]
            positives = each * is_positive
            negatives = each - positives
            if len(starts) < len(order):
                positives, negatives = (np.add.reduceat(one, starts, axis=1) for one in (positives, negatives))
            with np.errstate(divide="ignore", invalid="ignore"):
                return self.area(positives, negatives)

        return of


@dataclass(frozen=True)
class MeanMetric:
    """The mean of several metrics, of those that have a value."""

    parts: Sequence[RowMetric]

    def resampled(self, cluster: NDArray[np.int64], count: int) -> Resampled:
        """The mean for each draw; NaN where no part has a value."""
        parts = [part.resampled(cluster, count) for part in self.parts]

        def of(weights: Numbers) -> Numbers:
            values = np.stack([part(weights) for part in parts])
            has_value = ~np.isnan(values)
            with np.errstate(invalid="ignore"):
                mean: Numbers = np.where(has_value, values, 0).sum(axis=0) / has_value.sum(axis=0)
            return mean

        return of


def value_of(metric: RowMetric, rows: int) -> float:
    """The metric of rows that count once each."""
    return float(metric.resampled(np.zeros(rows, np.int64), 1)(np.ones((1, 1)))[0])


def mean_of(values: NDArray[np.generic]) -> SumMetric:
    """The mean of a value for each row."""
    return ratio_of(values, np.ones(len(values)))


def ratio_of(part: NDArray[np.generic], whole: NDArray[np.generic]) -> SumMetric:
    """The sum of `part` over that of `whole`."""
    columns = np.stack([part, whole], axis=1).astype(np.float64)
    return SumMetric(columns, lambda sums: sums[:, 0] / sums[:, 1])


def transformed(metric: SumMetric, function: Callable[[Numbers], Numbers]) -> SumMetric:
    """A function of a metric."""
    return SumMetric(metric.columns, lambda sums: function(metric.of_sums(sums)))


def roc_area(positives: Numbers, negatives: Numbers) -> Numbers:
    """Share of pairs whose positive has the higher score; equal scores count half."""
    above = np.cumsum(positives, axis=1) - positives / 2
    area: Numbers = (negatives * above).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
    return area


def average_precision(positives: Numbers, negatives: Numbers) -> Numbers:
    """Precision at each threshold, weighted by the recall that it adds."""
    found = np.cumsum(positives, axis=1)
    chosen = found + np.cumsum(negatives, axis=1)
    precision = np.divide(found, chosen, out=np.zeros_like(found), where=chosen > 0)
    area: Numbers = (positives * precision).sum(axis=1) / found[:, -1]
    return area
