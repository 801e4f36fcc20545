"""From which probability on a row counts as positive, where the two kinds of mistake have their costs."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.report_parts.part import interval_on
from headrace.components.evaluation.report_parts.subject import Subject
from headrace.components.schema.labels import CategoryLabel
from headrace.components.serving_model.saved_model import predict
from headrace.components.tasks.row_metrics import mean_of

HALF = 0.5
_MOST_ROWS = 5_000
_SHOWN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_DRAWN = 101  # thresholds of the curves


@dataclass(frozen=True)
class ThresholdRow:
    """What a threshold makes of the measured rows; precision and recall are None of nothing."""

    threshold: float
    false_positives: int
    false_negatives: int
    precision: float | None
    recall: float | None
    cost: float


@dataclass(frozen=True)
class Thresholds:
    """The cheapest threshold of rows that are not measured on, and what it makes of those that are."""

    name: ClassVar[str] = "thresholds"
    title: ClassVar[str] = "Choice of a threshold"

    positive: str
    costs: tuple[float, float]
    """Of a false positive, and of a false negative."""

    chosen_on: Literal["validation", "train"]
    chosen: float
    rows: tuple[ThresholdRow, ...]
    saving: float
    """Cost a row at 0.5 less that at the chosen threshold, on the measured rows."""

    saving_interval: Interval | None
    lines: dict[str, tuple[np.ndarray, np.ndarray]]
    """Cost a row over the threshold, by split."""

    @property
    def verdict(self) -> str:
        """What the choice saves, in a sentence."""
        if self.chosen == HALF or self.saving_interval is None:
            return f"At {self.chosen:.2f} mistakes cost least on the {self.chosen_on} split."
        low, high = self.saving_interval.low, self.saving_interval.high
        found = f"{self.saving:+.3g} a row (95 % from {low:+.3g} to {high:+.3g})"
        if low > 0:
            return f"{self.chosen:.2f} instead of 0.50 is shown to save: {found}."
        if high < 0:
            return f"{self.chosen:.2f} instead of 0.50 is shown to cost more on the measured rows: {found}."
        return f"{self.chosen:.2f} instead of 0.50 is not shown to save anything on the measured rows: {found}."


def thresholds(subject: Subject) -> Thresholds | None:
    """Choose a threshold on validation rows, or on training rows where there are none; None but for two classes."""
    label, split = subject.label, subject.measurement.split
    if not isinstance(label, CategoryLabel) or len(label.classes) != 2 or not subject.held_out:
        return None
    chosen_on: Literal["validation", "train"] = "validation" if "validation" in split.names_held_out else "train"
    others = subject.rows_of(chosen_on, most=_MOST_ROWS)
    scores = predict(subject.measurement.model, others, features=subject.inputs)[:, 1].astype(np.float64)
    positive = (others[label.name] == label.classes[1]).to_numpy()
    settings = subject.settings.threshold
    costs = (settings.false_positive_cost, settings.false_negative_cost)
    chosen = cheapest(scores, positive, costs=costs)
    tested = subject.outcomes[f"probability_{label.classes[1]}"].to_numpy().astype(np.float64)
    truth = (subject.outcomes["target"] == label.classes[1]).to_numpy()
    saved = row_costs(tested, truth, HALF, costs=costs) - row_costs(tested, truth, chosen, costs=costs)
    places = np.linspace(0, 1, _DRAWN)
    return Thresholds(
        positive=label.classes[1],
        costs=costs,
        chosen_on=chosen_on,
        chosen=chosen,
        rows=tuple(threshold_row(tested, truth, one, costs=costs) for one in sorted({*_SHOWN, chosen})),
        saving=float(saved.mean()),
        saving_interval=interval_on(subject.outcomes, mean_of(saved)),
        lines={
            chosen_on: (places, np.array([row_costs(scores, positive, one, costs=costs).mean() for one in places])),
            split.measured_on: (
                places,
                np.array([row_costs(tested, truth, one, costs=costs).mean() for one in places]),
            ),
        },
    )


def cheapest(scores: np.ndarray, positive: np.ndarray, *, costs: tuple[float, float]) -> float:
    """The threshold, in hundredths, at which mistakes cost least; of equal ones that nearest to 0.5."""
    places = np.arange(1, 100) / 100
    found = np.array([row_costs(scores, positive, one, costs=costs).sum() for one in places])
    best = places[np.isclose(found, found.min(), rtol=1e-9, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - HALF))])


def row_costs(scores: np.ndarray, positive: np.ndarray, threshold: float, *, costs: tuple[float, float]) -> np.ndarray:
    """Cost float64[rows] of each row's mistake; what has the threshold or more counts as positive."""
    chosen = scores >= threshold
    found: np.ndarray = costs[0] * (chosen & ~positive) + costs[1] * (~chosen & positive)
    return found


def threshold_row(
    scores: np.ndarray, positive: np.ndarray, threshold: float, *, costs: tuple[float, float]
) -> ThresholdRow:
    """Counts, precision, recall and cost a row of a threshold."""
    chosen = scores >= threshold
    right, wrong, missed = (int(one.sum()) for one in (chosen & positive, chosen & ~positive, ~chosen & positive))
    return ThresholdRow(
        threshold=threshold,
        false_positives=wrong,
        false_negatives=missed,
        precision=right / (right + wrong) if right + wrong else None,
        recall=right / (right + missed) if right + missed else None,
        cost=float(row_costs(scores, positive, threshold, costs=costs).mean()),
    )
