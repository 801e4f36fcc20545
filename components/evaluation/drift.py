"""How a version of the data differs from the one before: measures, and what the limits say of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

from headrace.components.evaluation.settings import DriftLimits, Limits
from headrace.components.schema.settings import Settings
from headrace.components.statistics.profile import DECILES, ColumnProfile, Profile, counts_between, finite, pixel_counts
from headrace.components.statistics.summary import (
    CategorySummary,
    ElementSummary,
    ImageSummary,
    NumberSummary,
    Summary,
    TableSummary,
)

Measure = Literal[
    "columns", "rows", "missing", "mean", "quantile", "psi", "label_psi", "prediction_psi", "new_categories"
]
Verdict = Literal["ok", "warn", "fail"]

_SMALLEST_SHARE = 1e-4  # taken for an empty bin, whose part of the index would be infinite
_DETAIL_LENGTH = 160
_RESOLUTION = 2**-7  # of the sketch that quantiles come from


class Shift(Settings):
    """One measure of one column, or of the whole table."""

    measure: Measure
    column: str | None = None
    value: float
    verdict: Verdict = "ok"
    limit: float | None = None  # what was exceeded, or from where on this would be reported
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What was found, on one line."""
        place = self.measure if self.column is None else f"{self.column}: {self.measure}"
        found = f"{place} {self.value:.4g}" + (f" ({self.detail})" if self.detail else "")
        return found if self.verdict == "ok" else f"{found} is above {self.limit:g}"


class Drift(Settings):
    """Everything that was compared."""

    rows_before: int
    shifts: tuple[Shift, ...]

    def above(self, verdict: Literal["warn", "fail"]) -> list[str]:
        """Findings above a kind of limit, a sentence each."""
        return [shift.sentence for shift in self.shifts if shift.verdict == verdict]

    def foremost(self, most: int = 40) -> list[Shift]:
        """Findings above a limit, then those nearest to one; no more than a page has room for."""

        def rank(shift: Shift) -> tuple[int, float]:
            nearness = 0.0 if shift.limit is None else shift.value / max(shift.limit, _SMALLEST_SHARE)
            return -get_args(Verdict).index(shift.verdict), -nearness

        return sorted(self.shifts, key=rank)[:most]

    def metrics(self) -> dict[str, float]:
        """Return every measure by a name such as "drift/psi/Age", for MLflow."""
        return {"/".join(filter(None, ("drift", one.measure, one.column))): one.value for one in self.shifts}


class VersionProfile(Settings):
    """What one version of the data looks like, and how it differs from the one before (profile.json)."""

    profile: Profile
    drift: Drift | None = None


def compare(previous: Profile, present: TableSummary, *, label: str, limits: DriftLimits) -> Drift:
    """Difference of `present` from `previous`, column by column; `label` is the name of the label's column.

    The present version comes as its summary, because its values are counted within the deciles of the previous one.
    """
    shifts = [_columns(previous, present), _rows(previous, present), *column_shifts(previous, present, label=label)]
    judged = (judged_by(shift, warn=limits.warn, fail=limits.fail) for shift in shifts)
    return Drift(rows_before=previous.rows, shifts=tuple(judged))


def column_shifts(previous: Profile, present: TableSummary, *, label: str | None = None) -> Iterator[Shift]:
    """Every measure of each column that both have, in one type, without a verdict."""
    for name, summary in present.columns.items():
        before = previous.columns.get(name)
        if before is not None and before.type == _type(summary):
            yield from _column_shifts(name, before, summary, is_label=name == label)


def population_stability_index(before: Sequence[int], now: Sequence[int]) -> float:
    """Return the sum of (q - p) ln(q / p) over the shares p and q that bins have of their total; 0 for equal shares.

    A bin that is empty once counts as a share of 1/10,000; both totals must be above 0.
    """
    index = 0.0
    for one, other in zip(before, now, strict=True):
        p, q = max(one / sum(before), _SMALLEST_SHARE), max(other / sum(now), _SMALLEST_SHARE)
        index += (q - p) * math.log(q / p)
    return index


def bins_of(before: ColumnProfile, summary: Summary) -> tuple[Sequence[int], Sequence[int]] | None:
    """Counts of the same bins before and now; None where values have no bins."""
    match summary:
        case NumberSummary() if summary.sketch is not None:
            return before.decile_counts, counts_between(summary.sketch, before.deciles)
        case ImageSummary():
            return [bar.count for bar in before.bars], pixel_counts(summary)
        case CategorySummary() if summary.counts is not None and before.categories is not None:
            listed = [summary.counts.get(bar.label, 0) for bar in before.bars]
            others = summary.rows - summary.missing - sum(listed)
            return [*(bar.count for bar in before.bars), before.others], [*listed, others]
    return None


def _columns(previous: Profile, present: TableSummary) -> Shift:
    types = {name: _type(summary) for name, summary in present.columns.items()}
    added = [f"added {name}" for name in types if name not in previous.columns]
    removed = [f"removed {name}" for name in previous.columns if name not in types]
    retyped = [
        f"{name} is a {types[name]}, was a {before.type}"
        for name, before in previous.columns.items()
        if name in types and before.type != types[name]
    ]
    changes = added + removed + retyped
    return Shift(measure="columns", value=len(changes), detail=_listed(changes))


def _rows(previous: Profile, present: TableSummary) -> Shift:
    fewer, more = sorted((max(previous.rows, 1), max(present.rows, 1)))
    detail = f"{present.rows:,}, were {previous.rows:,}"
    return Shift(measure="rows", value=more / fewer, detail=detail)


def _column_shifts(name: str, before: ColumnProfile, summary: Summary, *, is_label: bool) -> Iterator[Shift]:
    missing = summary.missing / summary.rows if summary.rows else 0.0
    yield Shift(measure="missing", column=name, value=abs(missing - before.missing_fraction))
    match summary:
        case NumberSummary() | ImageSummary():
            yield from _number_shifts(name, before, summary)
        case CategorySummary():
            yield from _category_shifts(name, before, summary)
    counts = bins_of(before, summary)
    if counts and all(map(sum, counts)):
        value = population_stability_index(*counts)
        yield Shift(measure="label_psi" if is_label else "psi", column=name, value=value)


def _number_shifts(name: str, before: ColumnProfile, summary: NumberSummary | ImageSummary) -> Iterator[Shift]:
    if before.mean is None or summary.mean is None:
        return
    # A constant has no deviation: its own size is the measure then.
    scale = before.standard_deviation or abs(before.mean) or 1.0
    yield Shift(measure="mean", column=name, value=abs(summary.mean - before.mean) / scale)
    if isinstance(summary, NumberSummary) and before.deciles:
        now = [finite(summary.quantile(fraction) or 0.0) for fraction in DECILES]
        shifts = [
            max(0.0, abs(after - first) - _RESOLUTION * max(abs(after), abs(first)))
            for first, after in zip(before.deciles, now, strict=True)
        ]
        yield Shift(measure="quantile", column=name, value=max(shifts) / scale)


def _category_shifts(name: str, before: ColumnProfile, summary: CategorySummary) -> Iterator[Shift]:
    known = {bar.label for bar in before.bars}
    if before.others or before.categories is None or summary.counts is None:
        return  # there are too many to say which are new
    counts: Mapping[str, int] = summary.counts
    new = {text: count for text, count in counts.items() if text not in known}
    share = sum(new.values()) / max(1, sum(counts.values()))
    detail = _listed(sorted(new, key=lambda text: (-new[text], text)))
    yield Shift(measure="new_categories", column=name, value=share, detail=detail)


def _listed(texts: Sequence[str]) -> str:
    """The first few, in what fits on a line: names may be of any number and length."""
    listed = ", ".join(texts[:8])
    return listed if len(listed) <= _DETAIL_LENGTH else f"{listed[:_DETAIL_LENGTH]}…"


def judged_by(shift: Shift, *, warn: Limits, fail: Limits) -> Shift:
    """Return the shift with its verdict by both kinds of limits."""
    lower, upper = getattr(warn, shift.measure), getattr(fail, shift.measure)
    if upper is not None and shift.value > upper:
        return shift.model_copy(update={"verdict": "fail", "limit": upper})
    if lower is not None and shift.value > lower:
        return shift.model_copy(update={"verdict": "warn", "limit": lower})
    return shift.model_copy(update={"limit": upper if lower is None else lower})


def _type(summary: Summary) -> str:
    match summary:
        case NumberSummary():
            return "number"
        case CategorySummary():
            return "category"
        case ImageSummary():
            return "image"
        case ElementSummary():
            raise TypeError("a vector is compared by the summary of all its numbers")
