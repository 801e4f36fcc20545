"""How sure a metric is, and the difference of two models on the same rows."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.evaluation.bootstrap import Interval, draws_for, interval_of, resample
from headrace.components.evaluation.exact import paired_share_interval, share_interval
from headrace.components.tasks.metric_names import lower_is_better
from headrace.components.tasks.row_metrics import value_of
from headrace.components.tasks.task import Task

_DRAWS_OF_ALL = 2_000  # for all metrics of a report
_DRAWS_OF_ONE = 10_000  # for a decision


@dataclass(frozen=True)
class Difference:
    """A metric of one model less that of another, on the same rows; or of one model on later rows less on earlier."""

    metric: str
    value: float
    interval: Interval
    rows: int
    is_exact: bool
    is_of_two_samples: bool = False

    @property
    def gain(self) -> tuple[float, float]:
        """Least and greatest improvement: what is better is above 0, whatever the metric's direction."""
        low, high = self.interval.low, self.interval.high
        return (-high, -low) if lower_is_better(self.metric) else (low, high)

    def __str__(self) -> str:
        signed = self.interval
        better = ", lower is better" if lower_is_better(self.metric) else ""
        how = "two samples" if self.is_of_two_samples else "exact McNemar" if self.is_exact else "paired bootstrap"
        return (
            f"{self.metric} {self.value:+.3g}, {100 * signed.confidence:.4g} % from {signed.low:+.3g} to "
            f"{signed.high:+.3g} ({self.rows:,} rows, {how}{better})"
        )


def keys_of(rows: pl.DataFrame) -> NDArray[np.generic]:
    """What rows that are drawn together share: their group, else their id."""
    return rows["group_id" if "group_id" in rows.columns else "example_id"].to_numpy()


def intervals(task: Task, rows: pl.DataFrame, *, confidence: float) -> dict[str, Interval]:
    """Interval of each metric of a model's outcomes; none of a metric without a value in most draws.

    `rows` is a table of outcomes with example_id.
    """
    metrics = {name: make() for name, make in task.row_metrics(rows).items()}
    keys = keys_of(rows)
    count = len(np.unique(keys))
    found = {
        name: sure
        for name, values in resample(metrics, keys, draws=draws_for(confidence, at_least=_DRAWS_OF_ALL)).items()
        if (sure := interval_of(values, clusters=count, confidence=confidence)) is not None
    }
    if _are_shares(task, rows, keys):
        found["accuracy"] = share_interval(int(_right(rows).sum()), rows.height, confidence=confidence)
    return found


def interval(
    task: Task, rows: pl.DataFrame, metric: str, *, confidence: float, draws: int = _DRAWS_OF_ONE
) -> tuple[float, Interval] | None:
    """A metric and its interval; None where it has no value."""
    make = task.row_metrics(rows).get(metric) if rows.height else None
    if make is None:
        return None
    made, keys = make(), keys_of(rows)
    if metric == "accuracy" and _are_shares(task, rows, keys):
        right = int(_right(rows).sum())
        return right / rows.height, share_interval(right, rows.height, confidence=confidence)
    values = resample({metric: made}, keys, draws=draws_for(confidence, at_least=draws))[metric]
    found = interval_of(values, clusters=len(np.unique(keys)), confidence=confidence)
    return None if found is None else (value_of(made, rows.height), found)


def difference(
    task: Task,
    ours: pl.DataFrame,
    theirs: pl.DataFrame,
    metric: str,
    *,
    confidence: float,
    draws: int = _DRAWS_OF_ONE,
) -> Difference | None:
    """How much `metric` of one model's outcomes differs from that of another's; None where it has no value.

    Both are of the same rows, in the same order. Accuracy is compared by McNemar's exact test where rows are
    independent of each other, all else by a bootstrap in which both models get the same draws.
    """
    if not ours.height:
        return None
    ours_made, theirs_made = (task.row_metrics(rows).get(metric) for rows in (ours, theirs))
    if ours_made is None or theirs_made is None:
        return None
    keys, (one, other) = keys_of(ours), (ours_made(), theirs_made())
    value = value_of(one, ours.height) - value_of(other, ours.height)
    is_exact = metric == "accuracy" and _are_shares(task, ours, keys)
    if is_exact:
        right, their_right = _right(ours), _right(theirs)
        better, worse = int((right & ~their_right).sum()), int((their_right & ~right).sum())
        found = paired_share_interval(better, worse, of=ours.height, confidence=confidence)
        return Difference(metric, value, found, ours.height, is_exact)
    values = resample({"one": one, "other": other}, keys, draws=draws_for(confidence, at_least=draws))
    sure = interval_of(values["one"] - values["other"], clusters=len(np.unique(keys)), confidence=confidence)
    return None if sure is None or not np.isfinite(value) else Difference(metric, value, sure, ours.height, is_exact)


def change(task: Task, now: pl.DataFrame, before: pl.DataFrame, metric: str, *, confidence: float) -> Difference | None:
    """How much `metric` of outcomes differs from that of outcomes of other rows; None where either has no interval.

    Its interval is made of those of both metrics, whose rows are independent (MOVER; Zou and Donner, 2008).
    """
    ours, theirs = (interval(task, rows, metric, confidence=confidence) for rows in (now, before))
    if ours is None or theirs is None:
        return None
    (value, sure), (value_before, sure_before) = ours, theirs
    below = math.hypot(value - sure.low, sure_before.high - value_before)
    above = math.hypot(sure.high - value, value_before - sure_before.low)
    found = value - value_before
    moved = Interval(found - below, found + above, confidence)
    return Difference(metric, found, moved, now.height, is_exact=False, is_of_two_samples=True)


def _are_shares(task: Task, rows: pl.DataFrame, keys: NDArray[np.generic]) -> bool:
    """Whether accuracy is a share of rows that are independent of each other."""
    return bool(task.classes) and "target" in rows.columns and len(np.unique(keys)) == rows.height


def _right(rows: pl.DataFrame) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = (rows["target"] == rows["prediction"]).to_numpy()
    return right
