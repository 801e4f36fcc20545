"""Numbers and what a model predicts of them: errors, residuals and the worst mistakes."""

from typing import TYPE_CHECKING

import numpy as np

from headrace.components.schema.labels import NumberLabel, NumbersLabel
from headrace.components.tasks.metric_names import metric_prefixes
from headrace.components.tasks.model_outputs import check_finite
from headrace.components.tasks.task import Mistake, Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def number_outcome(labels: np.ndarray, predictions: np.ndarray, *, label: NumberLabel, worst_examples: int) -> Outcome:
    """Metrics, residuals and the examples with the largest error.

    `labels` and `predictions` are float[examples], in the label's unit; raises TrainingError if one is not finite.
    """
    from headrace.components.plots import figures  # matplotlib, which metrics alone do not need

    check_finite(predictions)
    return Outcome(
        metrics=number_metrics(labels, predictions),
        figures={
            "predicted_against_true": figures.predicted_against_true(labels, predictions, unit=label.unit),
            "residuals": figures.residuals(labels, predictions, unit=label.unit),
        },
        worst=_largest_errors(labels, predictions, unit=label.unit, number=worst_examples),
    )


def numbers_outcome(
    labels: np.ndarray, predictions: np.ndarray, *, label: NumbersLabel, worst_examples: int
) -> Outcome:
    """Metrics, figures of each number, and the examples with the largest error in standard deviations.

    `labels` and `predictions` are float[examples, numbers]; raises TrainingError if one is not finite.
    """
    from headrace.components.plots import figures  # matplotlib, which metrics alone do not need

    check_finite(predictions)
    drawn: dict[str, Figure] = {}
    for place, (name, (column, target)) in enumerate(zip(metric_prefixes(label), label.targets.items(), strict=True)):
        unit = f"{column} {target.unit}".rstrip()
        pair = labels[:, place], predictions[:, place]
        drawn[f"predicted_against_true_{name}"] = figures.predicted_against_true(*pair, unit=unit)
        drawn[f"residuals_{name}"] = figures.residuals(*pair, unit=unit)
    return Outcome(
        metrics=numbers_metrics(labels, predictions, label=label),
        figures=drawn,
        worst=_largest_of_several(labels, predictions, number=worst_examples),
    )


def number_metrics(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Return errors in the label's own unit (`loss`, the mean squared error, in its square) and R2.

    `labels` and `predictions` are float[examples]. R2 is left out where all labels are equal: it has no value there.
    """
    errors = predictions.astype(np.float64) - labels
    squared = np.mean(errors**2)
    metrics = {
        "loss": squared,
        "root_mean_squared_error": np.sqrt(squared),
        "mean_absolute_error": np.abs(errors).mean(),
    }
    if (variance := np.var(labels)) > 0:
        metrics["r2"] = 1 - squared / variance
    return {name: float(value) for name, value in metrics.items()}


def numbers_metrics(labels: np.ndarray, predictions: np.ndarray, *, label: NumbersLabel) -> dict[str, float]:
    """Return the metrics of all numbers together, and of each in its own unit, such as "Weight.r2".

    `labels` and `predictions` are float[examples, numbers]. Together, an error is in standard deviations of its number
    among the examples, so that none outweighs another, and `r2` is the mean of theirs.
    """
    deviations = np.std(labels, axis=0)
    scales = np.where(deviations > 0, deviations, 1.0)
    metrics = number_metrics((labels / scales).ravel(), (predictions / scales).ravel())
    each = [number_metrics(labels[:, place], predictions[:, place]) for place in range(labels.shape[1])]
    metrics.pop("r2", None)
    if scores := [one["r2"] for one in each if "r2" in one]:
        metrics["r2"] = float(np.mean(scores))
    for name, one in zip(metric_prefixes(label), each, strict=True):
        metrics |= {f"{name}.{metric}": value for metric, value in one.items()}
    return metrics


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
