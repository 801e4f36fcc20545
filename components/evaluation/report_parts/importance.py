"""How much worse the model gets where one column's values are permuted among the rows at random."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import polars as pl

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.report_parts.part import interval_on
from headrace.components.evaluation.report_parts.subject import Subject
from headrace.components.mixing import mix
from headrace.components.tasks.row_metrics import mean_of

_SEED = 0xDEA1
_MOST_COLUMNS = 40
_MOST_VALUES = 1 << 23  # pixels and tokens that are predicted for a column
_DECIMALS = 12  # a column that the model does not use changes nothing but rounding


@dataclass(frozen=True)
class ColumnImportance:
    """By how much the mean loss of a row rises without the column's information."""

    column: str
    rise: float
    interval: Interval | None

    @property
    def matters(self) -> bool:
        """Whether it is shown to be more than nothing."""
        return self.interval is not None and self.interval.low > 0


@dataclass(frozen=True)
class Importance:
    """Permutation importance (Breiman, 2001) of raw columns, before the model's own normalization."""

    name: ClassVar[str] = "importance"
    title: ClassVar[str] = "Which columns matter"

    loss: float
    """Mean loss of the rows as they are."""

    columns: tuple[ColumnImportance, ...]
    rows: int
    repeats: int
    left_out: int
    """Columns beyond the first 40."""


def importance(subject: Subject) -> Importance | None:
    """Permute each input on the measured rows; None for a model of one input, or without outcomes."""
    settings = subject.settings.importance
    if not settings.repeats or not subject.has_outcomes or len(inputs := list(subject.inputs)) < 2:
        return None
    most = min(settings.maximum_rows, max(20, _MOST_VALUES // subject.values_per_row // settings.repeats))
    order = np.argsort(mix(subject.measurement.rows["example_id"].to_numpy(), _SEED), kind="stable")
    places = np.sort(order[:most]).tolist()
    rows, outcomes = subject.measurement.rows[places], subject.outcomes[places]
    base = _losses(subject, rows, repeats=1)
    found = [
        _of_column(subject, name, number, rows, outcomes, base) for number, name in enumerate(inputs[:_MOST_COLUMNS])
    ]
    found.sort(key=lambda one: -one.rise)
    left_out = max(0, len(inputs) - _MOST_COLUMNS)
    return Importance(float(base.mean()), tuple(found), len(places), settings.repeats, left_out)


def _of_column(
    subject: Subject, name: str, number: int, rows: pl.DataFrame, outcomes: pl.DataFrame, base: np.ndarray
) -> ColumnImportance:
    repeats = subject.settings.importance.repeats
    dealt = []
    for repeat in range(repeats):
        draws = mix(np.arange(rows.height, dtype=np.uint64), _SEED + number * repeats + repeat)
        dealt.append(rows.with_columns(rows[name][np.argsort(draws, kind="stable").tolist()].alias(name)))
    losses = _losses(subject, pl.concat(dealt), repeats=repeats)
    rises = np.round(losses - base, _DECIMALS)
    return ColumnImportance(name, float(rises.mean()), interval_on(outcomes, mean_of(rises)))


def _losses(subject: Subject, rows: pl.DataFrame, *, repeats: int) -> np.ndarray:
    """Loss float64[rows] of each row, the mean over the repeats that `rows` has one after the other."""
    found = subject.task.outcome_rows(replace(subject.measurement, rows=rows))
    if found is None:
        raise TypeError(f"{type(subject.task).__name__} gives no outcomes of rows")
    losses: np.ndarray = found["loss"].to_numpy().reshape(repeats, -1).mean(axis=0)
    return losses
