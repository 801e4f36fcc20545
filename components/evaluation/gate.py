"""Whether a model may become champion."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from headrace.components.errors import ParamsError
from headrace.components.evaluation.settings import Budget, Compare, Guard, Register, Slice, Threshold
from headrace.components.tasks.metric_names import lower_is_better

if TYPE_CHECKING:
    import polars as pl

    from headrace.components.evaluation.paired import Difference
    from headrace.components.tasks.task import Task

RAW = "raw."  # in front of the names of columns as ingested, in a table of outcomes
TOO_FEW = "too few rows that neither model was trained on to compare with the champion"
PLACE = "_place"  # column of the places of a part's rows


@dataclass(frozen=True)
class Decision:
    """Whether to promote the candidate, and one sentence for each check.

    `demote` says why the present champion may not stay even if the candidate isn't promoted; "" where it may.
    """

    promote: bool
    reasons: tuple[str, ...]
    demote: str = ""


class Check(NamedTuple):
    """One check of the candidate: whether it passed, and why."""

    passed: bool
    reason: str


@dataclass(frozen=True)
class Rivals:
    """What candidate and champion made of the same rows, in the same order, none of which either was trained on.

    Both are tables of outcomes with example_id; `candidate` also has the categories of slices, as `raw.<category>`.
    """

    task: "Task"
    candidate: "pl.DataFrame"
    champion: "pl.DataFrame"


def decision_of(checks: Sequence[Check]) -> Decision:
    """Promote where every check passed."""
    return Decision(all(check.passed for check in checks), tuple(check.reason for check in checks))


def check_metrics(metrics: Iterable[str], settings: Register, *, points: Iterable[str] = ()) -> None:
    """Raise ParamsError if the settings name a metric that is not among `metrics`; thresholds may name points, too."""
    known, measured = set(metrics), set(points)
    for place, name in _named(settings):
        available = sorted(known | measured if place.startswith("thresholds.") else known)
        if name not in available:
            there_are = ", ".join(available)
            raise ParamsError(f"register.{place}: there is no metric {name!r}; there are: {there_are}")


def _named(settings: Register) -> Iterator[tuple[str, str]]:
    """Each metric that is named, and where."""
    yield "compare.metric", settings.compare.metric
    parts: list[tuple[str, Register | Slice]] = [("", settings)]
    parts += [(f"slices.{place}.", one) for place, one in enumerate(settings.slices)]
    for prefix, part in parts:
        for key, names in (("thresholds", part.thresholds), ("guards", part.guards)):
            yield from ((f"{prefix}{key}.{name}", name) for name in names)


def within(metrics: Mapping[str, float], thresholds: Mapping[str, Threshold]) -> list[Check]:
    """Whether each metric is in its range, as measured. NaN is in none."""
    return [_within(name, metrics[name], bounds) for name, bounds in thresholds.items()]


def _within(name: str, value: float, bounds: Threshold) -> Check:
    # Written so that NaN, which every comparison refuses, fails.
    if bounds.minimum is not None and not value >= bounds.minimum:
        return Check(False, f"{name} {value:.6g} is below the minimum of {bounds.minimum:g}")
    if bounds.maximum is not None and not value <= bounds.maximum:
        return Check(False, f"{name} {value:.6g} is above the maximum of {bounds.maximum:g}")
    return Check(not math.isnan(value), f"{name} {value:.6g} meets its threshold")


def affordable(budget: Budget, *, model_bytes: int, latency_ms: float | None) -> list[Check]:
    """Whether the model costs no more than its budget; what has no limit is not looked at."""
    costs = (
        ("model.keras has", "bytes", model_bytes, budget.model_bytes),
        ("a prediction of one row takes", "ms", latency_ms, budget.latency_ms),
    )
    return [
        Check(cost <= limit, f"{what} {cost:,.6g} {unit}, {'within' if cost <= limit else 'above'} the {limit:,g}")
        for what, unit, cost, limit in costs
        if cost is not None and limit is not None
    ]


def no_rival(metric: str, value: float) -> Check:
    """Without a champion, any number will do."""
    return (
        Check(False, f"{metric} is not a number") if math.isnan(value) else Check(True, "there was no champion to beat")
    )


def beats(metric: str, value: float, champion: float) -> Check:
    """Whether a metric is better than the champion's, for one that no rows stand behind. NaN beats nothing."""
    if math.isnan(value):
        return Check(False, f"{metric} is not a number")
    lower = lower_is_better(metric)
    is_better = math.isnan(champion) or (value < champion if lower else value > champion)
    verb = "beats" if is_better else "only equals" if value == champion else "does not beat"
    return Check(
        is_better,
        f"{metric} {value:.6g} {verb} the champion's {champion:.6g} ({'lower' if lower else 'higher'} is better)",
    )


def better(settings: Compare, found: "Difference | None") -> Check:
    """Whether the difference from the champion is evidence enough."""
    if found is None:
        return _unsure(settings, f"{settings.metric}: {TOO_FEW}")
    least, greatest = found.gain
    more_than = f" by more than {settings.minimum_improvement:g}" if settings.minimum_improvement else ""
    if least > settings.minimum_improvement:
        return Check(True, f"{found}: shown to be better than the champion{more_than}")
    if greatest < 0:
        return Check(False, f"{found}: shown to be worse than the champion")
    return _unsure(settings, f"{found}: not shown to be better{more_than}")


def _unsure(settings: Compare, why: str) -> Check:
    if settings.when_unsure == "newer":
        return Check(True, f"{why}, nor worse: the newer model is taken (when_unsure: newer)")
    return Check(False, f"{why}: the champion stays")


def guarded(settings: Register, candidate: "pl.DataFrame", task: "Task", rivals: Rivals | None) -> list[Check]:
    """Guards of all rows, and thresholds and guards of slices, each at the confidence that many looks leave.

    One reason for each that fails, and one that counts those that passed; none where nothing is configured.
    """
    looks = list(_looks(settings, candidate, rivals))
    if not looks and not settings.slices:
        return []
    confidence = 1 - (1 - settings.compare.confidence) / max(1, len(looks))
    found = [look.check(task, confidence) for look in looks]
    failed = [check for check in found if not check.passed]
    share = f"{100 * confidence:.4g} % each, {100 * settings.compare.confidence:g} % together"
    passed = Check(True, f"{len(found) - len(failed)} of {len(found)} guards and slices hold ({share})")
    small = too_small(settings.slices, candidate)
    return [*failed, passed, *([Check(True, small)] if small else [])]


@dataclass(frozen=True)
class ThresholdLook:
    """A threshold of a part of the rows."""

    metric: str
    bounds: Threshold
    part: str
    rows: "pl.DataFrame"

    def check(self, task: "Task", confidence: float) -> Check:
        """Fail a metric whose whole interval is outside."""
        from headrace.components.evaluation.paired import interval

        found = interval(task, self.rows, self.metric, confidence=confidence)
        if found is None:
            return Check(True, f"{self.part}: {self.metric} has no interval")
        value, sure = found
        said = f"{self.part}: {self.metric} {value:.3g}, {sure} ({self.rows.height:,} rows)"
        if self.bounds.minimum is not None and sure.high < self.bounds.minimum:
            return Check(False, f"{said}: shown to be below the minimum of {self.bounds.minimum:g}")
        if self.bounds.maximum is not None and sure.low > self.bounds.maximum:
            return Check(False, f"{said}: shown to be above the maximum of {self.bounds.maximum:g}")
        return Check(True, f"{said}: not shown to miss its threshold")


@dataclass(frozen=True)
class _GuardLook:
    """A guard of all rows, whose `part` is "", or of a part of them."""

    metric: str
    guard: Guard
    part: str
    candidate: "pl.DataFrame"
    champion: "pl.DataFrame"

    def check(self, task: "Task", confidence: float) -> Check:
        from headrace.components.evaluation.paired import difference

        guard, prefix = self.guard, f"{self.part}: " if self.part else ""
        found = difference(task, self.candidate, self.champion, self.metric, confidence=confidence)
        if found is None:
            return Check(guard.when_unsure == "pass", f"{prefix}{self.metric}: {TOO_FEW}")
        least, greatest = found.gain
        by = f" by more than {guard.worse_by:g}" if guard.worse_by else ""
        if greatest < -guard.worse_by:
            return Check(False, f"{prefix}{found}: shown to be worse than the champion{by}")
        if guard.when_unsure == "refuse" and least < -guard.worse_by:
            return Check(False, f"{prefix}{found}: may be worse than the champion{by} (when_unsure: refuse)")
        return Check(True, f"{prefix}{found}: not shown to be worse than the champion{by}")


def _looks(
    settings: Register, candidate: "pl.DataFrame", rivals: Rivals | None
) -> Iterator[ThresholdLook | _GuardLook]:
    """All checks of rows: thresholds of all that were measured, guards of those that both may be judged by."""
    for one in settings.slices:
        for name, rows in parts_of_slice(one, candidate):
            for metric, bounds in one.thresholds.items() if rows.height >= one.minimum_rows else ():
                yield ThresholdLook(metric, bounds, name, rows)
    if rivals is None:
        return
    for metric, guard in settings.guards.items():
        yield _GuardLook(metric, guard, "", rivals.candidate, rivals.champion)
    for one in settings.slices:
        for name, rows in parts_of_slice(one, rivals.candidate):
            champion = rivals.champion[rows[PLACE].to_list()]
            for metric, guard in one.guards.items() if rows.height >= one.minimum_rows else ():
                yield _GuardLook(metric, guard, name, rows, champion)


def parts_of_slice(one: Slice, rows: "pl.DataFrame") -> Iterator[tuple[str, "pl.DataFrame"]]:
    """Each combination of values, in words and in order, and its rows with their places."""
    columns = [f"{RAW}{name}" for name in one.columns]
    parts = rows.with_row_index(PLACE).partition_by(columns, as_dict=True, maintain_order=True)
    for values in sorted(parts, key=lambda values: tuple(map(str, values))):
        named = zip(one.columns, values, strict=True)
        shown = " and ".join(f"{name} {'missing' if value in (None, '') else value}" for name, value in named)
        yield shown, parts[values]


def too_small(slices: Sequence[Slice], rows: "pl.DataFrame") -> str:
    """Which parts have too few rows to be judged, in words; "" where none has."""
    small = [name for one in slices for name, part in parts_of_slice(one, rows) if part.height < one.minimum_rows]
    return f"too few rows to judge: {', '.join(small)}" if small else ""
