"""Intervals of metrics by the bootstrap: each draw counts every row a Poisson(1) number of times.

Poisson weights (Hanley and MacGibbon, 2006; Chamandy et al., 2012) are drawn row by row, so that candidate and champion
get the same ones, and memory holds some draws at a time. Rows of one group, or of one id, are drawn together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from headrace.components.mixing import mix
from headrace.components.tasks.row_metrics import Numbers, RowMetric

SEED = 20_200_229
FEWEST_CLUSTERS = 20
_MOST_WEIGHTS = 1 << 22  # at once: 32 MiB
_MOST_CLUSTERS = 1 << 16  # more rows than these are drawn in random groups: an interval is as good, and made in seconds
_FEWEST_IN_TAIL = 20


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, at a confidence such as 0.95."""

    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{100 * self.confidence:.4g} % from {self.low:.3g} to {self.high:.3g}"


def clusters_of(keys: NDArray[np.generic]) -> tuple[NDArray[np.int64], int]:
    """The cluster of each row, by keys that rows of one cluster share, and the number of clusters."""
    cluster = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    count = int(cluster.max(initial=-1)) + 1
    if count <= _MOST_CLUSTERS:
        return cluster, count
    groups = (mix(np.arange(count, dtype=np.uint64), SEED) % np.uint64(_MOST_CLUSTERS)).astype(np.int64)
    return groups[cluster], _MOST_CLUSTERS


def draws_for(confidence: float, *, at_least: int) -> int:
    """Number of draws of which enough are beyond either end of the interval."""
    return max(at_least, math.ceil(2 * _FEWEST_IN_TAIL / (1 - confidence)))


def resample(metrics: Mapping[str, RowMetric], keys: NDArray[np.generic], *, draws: int) -> dict[str, Numbers]:
    """Values float64[draws] of each metric, for the same draws; NaN where a draw has no value."""
    cluster, count = clusters_of(keys)
    functions = {name: metric.resampled(cluster, count) for name, metric in metrics.items()}
    step = max(1, _MOST_WEIGHTS // max(1, count))
    parts: dict[str, list[Numbers]] = {name: [] for name in metrics}
    for begin in range(0, draws, step):
        weights = poisson_weights(begin, min(step, draws - begin), count)
        for name, function in functions.items():
            parts[name].append(function(weights))
    return {name: np.concatenate(values) for name, values in parts.items()}


def poisson_weights(begin: int, draws: int, count: int) -> Numbers:
    """Poisson(1) numbers float64[draws, count], of draw `begin` and those after it.

    A function of draw and place alone: the same on any machine and with any NumPy. Each word that is mixed gives four,
    from a table, which is exact to a 65536th of their probabilities.
    """
    words = -(-count // 4)
    numbers = np.arange(begin * words, (begin + draws) * words, dtype=np.uint64)
    places = mix(numbers, SEED).astype("<u8").view("<u2").reshape(draws, 4 * words)[:, :count]
    weights: Numbers = _POISSON[places]
    return weights


def interval_of(values: Numbers, *, clusters: int, confidence: float) -> Interval | None:
    """The expanded percentile interval (Hesterberg, 2015) of draws over so many clusters of rows.

    None for fewer than 20 clusters, whose draws say little, and where fewer than half of the draws have a value.
    """
    finite = values[np.isfinite(values)]
    if clusters < FEWEST_CLUSTERS or 2 * finite.size < values.size:
        return None
    tail = _expanded_tail(confidence, clusters)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(float(low), float(high), confidence)


def _expanded_tail(confidence: float, count: int) -> float:
    """The share of draws beyond either end: percentiles of few rows are too narrow, as normal quantiles are for t's."""
    normal = NormalDist()
    z, freedom = -normal.inv_cdf((1 - confidence) / 2), count - 1
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)  # Fisher, 1926
    return normal.cdf(-t * math.sqrt(count / freedom))


def _poisson_table(size: int = 1 << 16) -> Numbers:
    cumulative = np.cumsum([math.exp(-1) / math.factorial(number) for number in range(12)])
    return np.searchsorted(cumulative, (np.arange(size) + 0.5) / size).astype(np.float64)


_POISSON = _poisson_table()
