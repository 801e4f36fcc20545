"""What a model made of the rows it is measured on: metrics, figures and its worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from headrace.components.errors import TrainingError
from headrace.components.evaluation import plots
from headrace.components.evaluation.gate import metric_prefixes
from headrace.components.evaluation.metrics import (
    ClassScore,
    category_metrics,
    class_scores,
    confusion_matrix,
    example_losses,
    number_metrics,
    numbers_metrics,
    precision_recall_curve,
    roc_curve,
)
from headrace.components.examples.settings import CategoryLabel, NumberLabel, NumbersLabel


@dataclass(frozen=True)
class Mistake:
    """One example that the model got wrong, or least right; `row` is its place, `detail` a probability or an error."""

    row: int
    true: str
    predicted: str
    detail: str
    wrong: bool = True


@dataclass(frozen=True)
class Outcome:
    """Everything that follows from labels and predictions alone; `matrix` and `scores` only for a category."""

    metrics: dict[str, float]
    figures: dict[str, Figure]
    worst: list[Mistake]
    matrix: np.ndarray | None = None
    scores: Sequence[ClassScore] = ()


def category_outcome(
    labels: np.ndarray, probabilities: np.ndarray, *, label: CategoryLabel, worst_examples: int
) -> Outcome:
    """Return metrics, confusion matrix, curves and the examples with the highest loss.

    `labels` is int[examples], `probabilities` float[examples, classes]; raises TrainingError if one is not finite.
    """
    check_finite(probabilities)
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), num_classes=len(label.classes))
    drawn = {"confusion_matrix": plots.confusion(matrix, classes=label.classes)}
    if len(label.classes) == 2 and len(np.unique(labels)) == 2:
        drawn |= _curves(labels, probabilities[:, 1], positive=label.classes[1])
    return Outcome(
        metrics=category_metrics(labels, probabilities),
        figures=drawn,
        worst=_least_probable(labels, probabilities, classes=label.classes, number=worst_examples),
        matrix=matrix,
        scores=class_scores(matrix, classes=label.classes),
    )


def number_outcome(labels: np.ndarray, predictions: np.ndarray, *, label: NumberLabel, worst_examples: int) -> Outcome:
    """Return metrics, residuals and the examples with the largest error.

    `labels` and `predictions` are float[examples], in the label's unit; raises TrainingError if one is not finite.
    """
    check_finite(predictions)
    return Outcome(
        metrics=number_metrics(labels, predictions),
        figures={
            "predicted_against_true": plots.predicted_against_true(labels, predictions, unit=label.unit),
            "residuals": plots.residuals(labels, predictions, unit=label.unit),
        },
        worst=_largest_errors(labels, predictions, unit=label.unit, number=worst_examples),
    )


def numbers_outcome(
    labels: np.ndarray, predictions: np.ndarray, *, label: NumbersLabel, worst_examples: int
) -> Outcome:
    """Return metrics, figures of each number, and the examples with the largest error in standard deviations.

    `labels` and `predictions` are float[examples, numbers]; raises TrainingError if one is not finite.
    """
    check_finite(predictions)
    drawn: dict[str, Figure] = {}
    for place, (name, (column, target)) in enumerate(zip(metric_prefixes(label), label.targets.items(), strict=True)):
        unit = f"{column} {target.unit}".rstrip()
        pair = labels[:, place], predictions[:, place]
        drawn[f"predicted_against_true_{name}"] = plots.predicted_against_true(*pair, unit=unit)
        drawn[f"residuals_{name}"] = plots.residuals(*pair, unit=unit)
    return Outcome(
        metrics=numbers_metrics(labels, predictions, label=label),
        figures=drawn,
        worst=_largest_of_several(labels, predictions, number=worst_examples),
    )


def check_finite(predictions: np.ndarray) -> None:
    """Raise TrainingError if a prediction, or what was made of it, is not a finite number."""
    if bad := np.count_nonzero(~np.isfinite(predictions)):
        raise TrainingError(
            f"{bad} of {predictions.size} predictions are not finite numbers; "
            "is a transform missing for a column with missing or huge values?"
        )


def _curves(labels: np.ndarray, scores: np.ndarray, *, positive: str) -> dict[str, Figure]:
    precision_recall = precision_recall_curve(labels, scores)
    return {
        "roc": plots.roc(roc_curve(labels, scores), positive=positive),
        "precision_recall": plots.precision_recall(
            precision_recall, positive=positive, positive_fraction=float(labels.mean())
        ),
    }


def _least_probable(
    labels: np.ndarray, probabilities: np.ndarray, *, classes: Sequence[str], number: int
) -> list[Mistake]:
    predicted = probabilities.argmax(axis=1)
    rows = np.argsort(-example_losses(labels, probabilities), kind="stable")[:number]
    return [
        Mistake(
            int(row),
            true=classes[labels[row]],
            predicted=classes[predicted[row]],
            detail=f"{probabilities[row, predicted[row]]:.1%}",
            wrong=bool(labels[row] != predicted[row]),
        )
        for row in rows
    ]


def _largest_of_several(labels: np.ndarray, predictions: np.ndarray, *, number: int) -> list[Mistake]:
    deviations = np.std(labels, axis=0)
    errors = np.sqrt(np.mean(((predictions - labels) / np.where(deviations > 0, deviations, 1.0)) ** 2, axis=1))
    rows = np.argsort(-errors, kind="stable")[:number]
    return [
        Mistake(
            int(row),
            true=", ".join(f"{value:,.6g}" for value in labels[row]),
            predicted=", ".join(f"{value:,.6g}" for value in predictions[row]),
            detail=f"{errors[row]:.4g} standard deviations",
        )
        for row in rows
    ]


def _largest_errors(labels: np.ndarray, predictions: np.ndarray, *, unit: str, number: int) -> list[Mistake]:
    errors = predictions - labels
    rows = np.argsort(-np.abs(errors), kind="stable")[:number]
    return [
        Mistake(
            int(row),
            true=f"{labels[row]:,.6g}",
            predicted=f"{predictions[row]:,.6g}",
            detail=f"{errors[row]:+,.4g} {unit}".rstrip(),
        )
        for row in rows
    ]
