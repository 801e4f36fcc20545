"""Parts of the measured rows, by the values of each column, the worst first."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.gate import RAW
from headrace.components.evaluation.paired import interval
from headrace.components.evaluation.report_parts.subject import CONFIDENCE, Subject
from headrace.components.tasks.row_metrics import value_of

_FEWEST_ROWS = 20  # of a part: fewer have no interval
_MOST_VALUES = 50  # of a column: more are keys rather than categories
_MOST_COLUMNS = 30
_SHOWN = 20
_QUARTERS = 4


@dataclass(frozen=True)
class SliceRow:
    """A part of the rows, in words, and its metric."""

    by: str
    value: str
    rows: int
    metric: float
    interval: Interval


@dataclass(frozen=True)
class Slices:
    """Parts of the rows, the worst first, as their intervals say."""

    name: ClassVar[str] = "slices"
    title: ClassVar[str] = "Slices, the worst first"

    metric: str
    whole: float
    shown: tuple[SliceRow, ...]
    parts: int
    small: int
    """Parts with too few rows for an interval, which are left out."""


def slices(subject: Subject) -> Slices | None:
    """Metric of each part by one column: its categories, or quarters of its numbers; None without such columns."""
    if not subject.has_outcomes or not subject.held_out:
        return None
    found, small = [], 0
    for by, value, places in _parts(subject):
        if len(places) < _FEWEST_ROWS:
            small += 1
            continue
        rows = subject.outcomes[places.tolist()]
        sure = interval(subject.task, rows, subject.metric, confidence=CONFIDENCE, draws=1_000)
        if sure is not None:
            found.append(SliceRow(by, value, len(places), *sure))
    if not found:
        return None

    def best_case(row: SliceRow) -> float:
        """The better end of the interval: a part that is bad by chance alone does not come first."""
        return -row.interval.low if subject.lower_is_better else row.interval.high

    whole = value_of(subject.task.row_metrics(subject.outcomes)[subject.metric](), subject.outcomes.height)
    return Slices(subject.metric, whole, tuple(sorted(found, key=best_case)[:_SHOWN]), len(found), small)


def _parts(subject: Subject) -> Iterator[tuple[str, str, np.ndarray]]:
    """Column, value in words, and int64[rows] places of each part that is not all of the rows."""
    rows = subject.outcomes
    categories = [name for name in rows.columns if name.startswith(RAW)][:_MOST_COLUMNS]
    for column in categories:
        values = rows[column].fill_null("")
        if 1 < values.n_unique() <= _MOST_VALUES:
            for value in sorted(values.unique().to_list()):
                yield column.removeprefix(RAW), value or "missing", np.flatnonzero((values == value).to_numpy())
    numbers = [name for name, feature in subject.inputs.items() if feature.is_number]
    for name in numbers[:_MOST_COLUMNS]:
        yield from _quarters(name, subject.measurement.rows[name].cast(pl.Float64).to_numpy())


def _quarters(name: str, values: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Parts of a number by its quartiles among the rows, and the missing ones."""
    missing = np.isnan(values)
    if missing.any() and not missing.all():
        yield name, "missing", np.flatnonzero(missing)
    if missing.all():
        return
    edges = np.unique(np.quantile(values[~missing], np.linspace(0, 1, _QUARTERS + 1)))
    if len(edges) < 2:
        return
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        if (chosen := np.flatnonzero(~missing & (places == place))).size and chosen.size < len(values):
            yield name, f"{low:.4g} to {high:.4g}", chosen
