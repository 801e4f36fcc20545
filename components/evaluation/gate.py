"""Whether a model may become champion."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.components.errors import ParamsError
from headrace.components.tasks.metric_names import lower_is_better


class Bounds(Protocol):
    """The range that a metric must be in; None where it is open."""

    @property
    def minimum(self) -> float | None:
        """The lowest value that passes."""

    @property
    def maximum(self) -> float | None:
        """The highest value that passes."""


@dataclass(frozen=True)
class Decision:
    """Whether to promote the candidate, and one sentence for each thing that was looked at."""

    promote: bool
    reasons: tuple[str, ...]


def decide(
    candidate: Mapping[str, float],
    *,
    thresholds: Mapping[str, Bounds],
    compare_by: str,
    champion: Mapping[str, float] | None,
) -> Decision:
    """Return the decision: every threshold met, and `compare_by` strictly better than the champion's on the same data.

    `champion` is None where there is no champion to beat. NaN meets nothing and beats nothing. Raises ParamsError if a
    metric is asked for that the candidate does not have.
    """
    check_metrics(candidate, thresholds=thresholds, compare_by=compare_by)
    checks = [_within(name, candidate[name], bounds) for name, bounds in thresholds.items()]
    checks.append(_beats(compare_by, candidate[compare_by], champion))
    return Decision(all(passed for passed, _ in checks), tuple(reason for _, reason in checks))


def check_metrics(metrics: Iterable[str], *, thresholds: Mapping[str, Bounds], compare_by: str) -> None:
    """Raise ParamsError if a threshold or `compare_by` names a metric that is not among `metrics`."""
    available = sorted(metrics)
    asked = {f"thresholds.{name}": name for name in thresholds} | {"compare_by": compare_by}
    for place, name in asked.items():
        if name not in available:
            raise ParamsError(f"register.{place}: there is no metric {name!r}; there are: {', '.join(available)}")


def _within(name: str, value: float, bounds: Bounds) -> tuple[bool, str]:
    # Written so that NaN, which every comparison refuses, fails.
    if bounds.minimum is not None and not value >= bounds.minimum:
        return False, f"{name} {value:.6g} is below the minimum of {bounds.minimum:g}"
    if bounds.maximum is not None and not value <= bounds.maximum:
        return False, f"{name} {value:.6g} is above the maximum of {bounds.maximum:g}"
    return not math.isnan(value), f"{name} {value:.6g} meets its threshold"


def _beats(name: str, value: float, champion: Mapping[str, float] | None) -> tuple[bool, str]:
    if math.isnan(value):
        return False, f"{name} is not a number"
    if champion is None:
        return True, "there was no champion to beat"
    present = champion.get(name, math.nan)
    better = "lower" if lower_is_better(name) else "higher"
    beaten = math.isnan(present) or (value < present if lower_is_better(name) else value > present)
    verb = "beats" if beaten else "only equals" if value == present else "does not beat"
    return beaten, f"{name} {value:.6g} {verb} the champion's {present:.6g} ({better} is better)"
