"""Curves of a model as tables: what `dvc plots diff` lays over those of another version, and a screen reader reads."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from headrace.components.evaluation.report_parts.subject import Subject
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.tasks.category_outcome import CALIBRATION_BINS, precision_recall_curve, roc_curve

_MOST_POINTS = 200
_MOST_SCORES = 1 << 22  # rows times classes


@dataclass(frozen=True)
class CurveTable:
    """Points of a curve, float64[points, 2]: the first column is its x; `title` says what it is of.

    `positive` is what ROC and precision are of, and `chance` its share of the rows; `area` is what they stand for.
    """

    name: str
    title: str
    points: pl.DataFrame
    positive: str = ""
    chance: float = 0.0
    area: float = 0.0

    @property
    def shown(self) -> pl.DataFrame:
        """A few of the points, as a page has room for."""
        return _thinned(self.points, 15)


def curves(subject: Subject) -> list[CurveTable]:
    """ROC and precision-recall of two classes, calibration of any, and shares of errors of a number."""
    rows = subject.outcomes
    match subject.label:
        case CategoryLabel(classes=classes):
            columns = [f"probability_{name}" for name in classes]
            if not set(columns) <= set(rows.columns):
                return []
            probabilities = rows.select(columns).to_numpy()
            is_right = (rows["target"] == rows["prediction"]).to_numpy()
            found = [CurveTable("calibration", "Calibration", calibration_points(probabilities.max(axis=1), is_right))]
            if len(classes) == 2 and rows["target"].n_unique() == 2:
                labels = (rows["target"] == classes[1]).to_numpy()
                return [*_of_scores(labels, probabilities[:, 1], positive=classes[1]), *found]
            if len(classes) > 2 and probabilities.size <= _MOST_SCORES:
                labels = rows["target"].to_numpy()[:, np.newaxis] == np.array(classes)
                return [*_of_scores(labels.ravel(), probabilities.ravel(), positive="any class"), *found]
            return found
        case NumberLabel():
            errors = np.sort(np.abs((rows["prediction"] - rows["target"]).to_numpy()))
            points = {"absolute_error": errors, "share_of_rows": np.arange(1, len(errors) + 1) / len(errors)}
            return [CurveTable("errors", "Share of rows within an error", _thinned(pl.DataFrame(points), _MOST_POINTS))]
    return []


def calibration_points(confidence: np.ndarray, is_right: np.ndarray) -> pl.DataFrame:
    """Mean probability of the predicted class, share that is right, and rows, of each bin that has any."""
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    means = [np.bincount(bins, values, CALIBRATION_BINS)[filled] / counts[filled] for values in (confidence, is_right)]
    return pl.DataFrame({"predicted_probability": means[0], "share_right": means[1], "rows": counts[filled]})


def _of_scores(is_positive: np.ndarray, scores: np.ndarray, *, positive: str) -> list[CurveTable]:
    """Curves of two classes or, of more, of the question for each class whether a row is of it (micro-average)."""
    labels = is_positive.astype(np.int64)
    roc, precision = roc_curve(labels, scores), precision_recall_curve(labels, scores)
    tables = (
        ("roc", "ROC", roc.area, {"false_positive_rate": roc.x, "true_positive_rate": roc.y}),
        ("precision_recall", "Precision and recall", precision.area, {"recall": precision.x, "precision": precision.y}),
    )
    return [
        CurveTable(name, title, _thinned(pl.DataFrame(columns), _MOST_POINTS), positive, float(labels.mean()), area)
        for name, title, area, columns in tables
    ]


def _thinned(points: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most so many points, evenly by place, the first and the last among them."""
    if points.height <= most:
        return points
    places: list[int] = np.unique(np.linspace(0, points.height - 1, most).round().astype(np.int64)).tolist()
    return points[places]
