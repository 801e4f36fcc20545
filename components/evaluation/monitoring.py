"""What a model meets after deployment against what it was trained and measured on."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
import polars as pl

from headrace.components.evaluation.drift import Measure, Shift, Verdict, bins_of, column_shifts, judged_by
from headrace.components.evaluation.gate import RAW, ThresholdLook, parts_of_slice, too_small
from headrace.components.evaluation.monitor_settings import Monitor
from headrace.components.evaluation.paired import change, intervals
from headrace.components.evaluation.settings import Guard
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.settings import Settings
from headrace.components.statistics.profile import ColumnProfile, Profile, profile_of, summarize_table
from headrace.components.statistics.summary import ImageSummary, NumberSummary, Summary, TableSummary
from headrace.components.tasks.row_metrics import Numbers, value_of
from headrace.components.tasks.task import Task

Level = Literal["alert", "warn", "ok", "info"]

_LEVELS: Mapping[Verdict, Level] = {"ok": "ok", "warn": "warn", "fail": "alert"}
_PREDICTION = "prediction"
_PROBABILITY = "probability"
_MOST_REFERENCE_ROWS = 100_000


class Finding(Settings):
    """One look at the predictions: what was found, and whether it is beyond a limit; "info" where there is none."""

    kind: Literal["inputs", "predictions", "labels", "metrics"]
    level: Level
    sentence: str


@dataclass(frozen=True)
class Reference:
    """What a version was trained on, and what it made of rows that it was measured on.

    `inputs` are features and label of its training rows; `predictions` has the columns of `prediction_columns`.
    `outcomes` is a table of outcomes, of 100,000 rows at most.
    """

    inputs: Profile
    predictions: Profile
    outcomes: pl.DataFrame


def reference_of(inputs: Profile, outcomes: pl.DataFrame) -> Reference:
    """The reference of a version with these training rows and outcomes. Of many rows, those of the lowest ids are kept.

    Ids are digests, so that these are drawn at random.
    """
    predictions = prediction_columns(outcomes)
    profile = profile_of(summarize_table(predictions, columns=features_of(predictions)))
    return Reference(inputs, profile, outcomes.sort("example_id").head(_MOST_REFERENCE_ROWS))


def prediction_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Columns of predictions, and of a category the probability of that, from outcomes or predictions.

    None of a task that predicts no columns.
    """
    probabilities = [name for name in rows.columns if name.startswith(f"{_PROBABILITY}_") or name == _PROBABILITY]
    predicted = [name for name in rows.columns if name == _PREDICTION or name.startswith(f"{_PREDICTION}_")]
    highest = [pl.max_horizontal(probabilities).alias(_PROBABILITY)] if probabilities else []
    return rows.select(*predicted, *highest)


def features_of(predictions: pl.DataFrame) -> dict[str, Feature]:
    """The columns of `prediction_columns` as features."""
    return {
        name: CategoryFeature(nullable=True) if dtype == pl.String else NumberFeature(nullable=True)
        for name, dtype in predictions.schema.items()
    }


def drift_findings(
    reference: Reference,
    *,
    inputs: TableSummary,
    predictions: TableSummary,
    labels: TableSummary | None,
    settings: Monitor,
) -> list[Finding]:
    """Drift of inputs, predictions and, where there are some, labels: a finding for each measure that has a limit.

    A value above its limit that chance alone could give of so few rows is no alert and no warning, and says so.
    """
    shifts: list[tuple[Literal["inputs", "predictions", "labels"], Shift, Profile, Summary]] = [
        ("inputs", one, reference.inputs, inputs.columns[str(one.column)])
        for one in column_shifts(reference.inputs, inputs)
    ]
    parts: list[tuple[Literal["predictions", "labels"], Measure, Profile, TableSummary | None]] = [
        ("predictions", "prediction_psi", reference.predictions, predictions),
        ("labels", "label_psi", reference.inputs, labels),
    ]
    for kind, measure, profile, summary in parts:
        for one in column_shifts(profile, summary) if summary else ():
            if one.measure == "psi":
                named = one.model_copy(update={"measure": measure})
                shifts.append((kind, named, profile, summary.columns[str(one.column)]))  # type: ignore[union-attr]
    limits = settings.drift
    looks = [
        _DriftLook(kind, judged_by(shift, warn=limits.warn, fail=limits.alert), profile.columns[str(shift.column)], of)
        for kind, shift, profile, of in shifts
        if getattr(limits.warn, shift.measure) is not None or getattr(limits.alert, shift.measure) is not None
    ]
    chance = (1 - settings.confidence) / max(1, len(looks))
    return worst_first(look.finding(chance, settings.minimum_rows) for look in looks)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Alerts, then warnings, then all else, each in their order."""
    return sorted(findings, key=lambda one: get_args(Level).index(one.level))


@dataclass(frozen=True)
class _DriftLook:
    """One measure of one column, with its verdict, and the column before and now."""

    kind: Literal["inputs", "predictions", "labels"]
    shift: Shift
    before: ColumnProfile
    now: Summary

    def finding(self, chance: float, minimum_rows: int) -> Finding:
        """What the verdict amounts to, of so few rows."""
        level, sentence = _LEVELS[self.shift.verdict], self.shift.sentence
        rows = f"{self.now.rows:,} rows"
        if level != "ok" and is_by_chance(self.shift.measure, self.before, self.now, chance=chance):
            level, sentence = "ok", f"{sentence}, which {rows} give by chance"
        elif level != "ok" and self.now.rows < minimum_rows:
            level, sentence = "ok", f"{sentence}; {rows} are fewer than monitor.minimum_rows"
        return Finding(kind=self.kind, level=level, sentence=sentence)


def is_by_chance(measure: Measure, before: ColumnProfile, now: Summary, *, chance: float) -> bool:
    """Whether a column that has not changed would differ so much with a probability above `chance`.

    Pearson's chi-square test for indices and shares of missing values, a normal one for means. Measures without a
    test are never by chance.
    """
    match measure:
        case "psi" | "label_psi" | "prediction_psi" if counts := bins_of(before, now):
            one, other = (np.array(found, dtype=np.float64) for found in counts)
            # Pixels of an image, and tokens of a text, are no rows of their own.
            scaled = (
                found * min(1.0, rows / max(1.0, found.sum()))
                for found, rows in ((one, before.rows), (other, now.rows))
            )
            return _chi_square_passes(*scaled, chance=chance)
        case "missing":
            shares = ((before.missing, before.rows), (now.missing, now.rows))
            counts_of = (np.array([missing, rows - missing], dtype=np.float64) for missing, rows in shares)
            return _chi_square_passes(*counts_of, chance=chance)
        case "mean" if (
            isinstance(now, NumberSummary | ImageSummary) and now.mean is not None and before.mean is not None
        ):
            deviations = (before.standard_deviation or 0.0, now.standard_deviation or 0.0)
            sizes = (before.rows - before.missing, now.rows - now.missing)
            error = math.sqrt(sum(deviation**2 / size for deviation, size in zip(deviations, sizes, strict=True)))
            return abs(now.mean - before.mean) <= NormalDist().inv_cdf(1 - chance / 2) * error
    return False


def _chi_square_passes(before: Numbers, now: Numbers, *, chance: float) -> bool:
    """Whether two samples of counts are of one distribution by Pearson's test, at the level `chance`."""
    filled = (before + now) > 0
    table = np.stack([before[filled], now[filled]])
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return True
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic <= _chi_square(table.shape[1] - 1, chance)


def _chi_square(freedom: int, chance: float) -> float:
    """The value that chi-square exceeds with the probability `chance` (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NormalDist().inv_cdf(1 - chance) * math.sqrt(part)) ** 3)


@dataclass(frozen=True)
class Quality:
    """Metrics of predictions whose labels are known, their intervals at 95 %, and what the limits say of them."""

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    findings: Sequence[Finding]


def quality(task: Task, rows: pl.DataFrame, reference: pl.DataFrame, settings: Monitor) -> Quality:
    """Judge outcomes of labelled predictions, with `raw.<category>` for slices, against those of the reference."""
    values = ((name, value_of(make(), rows.height)) for name, make in task.row_metrics(rows).items())
    metrics = {name: value for name, value in values if math.isfinite(value)}  # an area needs rows of both classes
    sure = intervals(task, rows, confidence=0.95)
    shown = [
        Finding(kind="metrics", level="info", sentence=_shown(name, value, sure, rows.height))
        for name, value in metrics.items()
        if "." not in name
    ]
    judged = list(_judged(task, rows, reference, settings)) if rows.height >= settings.minimum_rows else []
    if rows.height < settings.minimum_rows and (settings.thresholds or settings.guards or settings.slices):
        few = f"{rows.height:,} labels are fewer than monitor.minimum_rows: metrics are not judged"
        judged = [Finding(kind="metrics", level="info", sentence=few)]
    return Quality(metrics, {name: (one.low, one.high) for name, one in sure.items()}, [*judged, *shown])


def _shown(name: str, value: float, sure: Mapping[str, object], rows: int) -> str:
    interval = f", {sure[name]}" if name in sure else ""
    return f"{name} {value:.3g}{interval} ({rows:,} rows)"


def _judged(task: Task, rows: pl.DataFrame, reference: pl.DataFrame, settings: Monitor) -> Iterator[Finding]:
    looks = list(_looks(rows, reference, settings))
    confidence = 1 - (1 - settings.confidence) / max(1, len(looks))
    for look in looks:
        passed, reason = look.check(task, confidence)
        yield Finding(kind="metrics", level="ok" if passed else "alert", sentence=reason)
    if small := too_small(settings.slices, rows):
        yield Finding(kind="metrics", level="info", sentence=small)


def _looks(rows: pl.DataFrame, reference: pl.DataFrame, settings: Monitor) -> "Iterator[ThresholdLook | _ChangeLook]":
    for metric, bounds in settings.thresholds.items():
        yield ThresholdLook(metric, bounds, "all rows", rows)
    for metric, guard in (settings.guards or {}).items():
        yield _ChangeLook(metric, guard, "all rows", rows, reference)
    for one in settings.slices:
        kept = {f"{RAW}{name}" for name in one.columns} <= set(reference.columns)  # else of a feature added since
        before = dict(parts_of_slice(one, reference)) if kept else {}
        for name, part in parts_of_slice(one, rows):
            if part.height < one.minimum_rows:
                continue
            for metric, bounds in one.thresholds.items():
                yield ThresholdLook(metric, bounds, name, part)
            for metric, guard in one.guards.items() if name in before else ():
                yield _ChangeLook(metric, guard, name, part, before[name])


@dataclass(frozen=True)
class _ChangeLook:
    """A guard of a metric: now against when the version was measured."""

    metric: str
    guard: Guard
    part: str
    now: pl.DataFrame
    before: pl.DataFrame

    def check(self, task: Task, confidence: float) -> tuple[bool, str]:
        found = change(task, self.now, self.before, self.metric, confidence=confidence)
        if found is None:
            return self.guard.when_unsure == "pass", f"{self.part}: {self.metric}: too few rows to compare"
        least, greatest = found.gain
        by = f" by more than {self.guard.worse_by:g}" if self.guard.worse_by else ""
        said = f"{self.part}: {found}"
        if greatest < -self.guard.worse_by:
            return False, f"{said}: shown to be worse than when it was registered{by}"
        if self.guard.when_unsure == "refuse" and least < -self.guard.worse_by:
            return False, f"{said}: may be worse than when it was registered{by} (when_unsure: refuse)"
        return True, f"{said}: not shown to be worse than when it was registered{by}"
