"""How good predictions are, as numbers.

Written out in numpy: the import of scikit-learn's metrics alone takes longer than all of this. The tests hold every
number here equal to scikit-learn's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.components.errors import DataError
from headrace.components.evaluation.gate import metric_prefixes
from headrace.components.examples.settings import NumbersLabel

_SMALLEST_PROBABILITY = 1e-7  # as in Keras: a certain mistake costs 16.1 nats, not infinity


@dataclass(frozen=True)
class ClassScore:
    """How well one class is distinguished from the others; `support` is how many examples have it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Curve:
    """A line from threshold to threshold, and the area it stands for: float64[thresholds] each."""

    x: np.ndarray
    y: np.ndarray
    area: float


def category_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return loss (categorical cross-entropy, nats), accuracy and macro averages; for two classes the areas too.

    `labels` is int[examples], `probabilities` float[examples, classes]. Averages are over the classes that occur, as
    labels or as predictions. Where there is no number (an area with one class in the labels) there is no key.
    """
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels, predicted, num_classes=probabilities.shape[1])
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    precision, recall, f1 = (scores[occurs].mean() for scores in _scores(matrix))
    metrics = {
        "loss": example_losses(labels, probabilities).mean(),
        "accuracy": (labels == predicted).mean(),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    if probabilities.shape[1] == 2 and len(np.unique(labels)) == 2:
        metrics["roc_auc"] = roc_curve(labels, probabilities[:, 1]).area
        metrics["average_precision"] = precision_recall_curve(labels, probabilities[:, 1]).area
    return {name: float(value) for name, value in metrics.items()}


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


def token_metrics(targets: np.ndarray, predicted: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """Return cross-entropy in nats a token, its power of e (perplexity) and accuracy; padding counts in none.

    `targets` and `predicted` are int[texts, length], ids of tokens, 0 for padding; `losses` is float[texts, length].
    Raises DataError if all is padding.
    """
    is_token = targets != 0
    if not is_token.any():
        raise DataError("no text has a second token, so there is nothing to predict; add longer texts")
    cross_entropy = losses[is_token].mean(dtype=np.float64)
    accuracy = (targets == predicted)[is_token].mean()
    return {
        "cross_entropy": float(cross_entropy),
        "perplexity": float(np.exp(cross_entropy)),
        "accuracy": float(accuracy),
    }


def example_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64[examples]: minus the logarithm of the probability that was given to the true class."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: np.ndarray = -np.log(np.clip(given, _SMALLEST_PROBABILITY, 1.0))
    return losses


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Return int64[true class, predicted class]: how many examples of each class were taken for which."""
    cells = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(matrix: np.ndarray, *, classes: Sequence[str]) -> list[ClassScore]:
    """Return precision, recall, F1 and support of every class; a ratio of nothing to nothing counts as 0."""
    precision, recall, f1 = (scores.tolist() for scores in _scores(matrix))
    return [ClassScore(*row) for row in zip(classes, precision, recall, f1, matrix.sum(axis=1).tolist(), strict=True)]


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """Return the true positive rate (y) over the false positive rate (x), from (0, 0) to (1, 1).

    `labels` is int[examples], 1 for the positive class, with both classes in it; `scores` is float[examples].
    """
    true_positives, false_positives = _counts_by_threshold(labels, scores)
    x = np.append(0.0, false_positives / false_positives[-1])
    y = np.append(0.0, true_positives / true_positives[-1])
    return Curve(x, y, float(np.trapezoid(y, x)))


def precision_recall_curve(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """Return precision (y) over recall (x), from the highest threshold to the lowest; its area is average precision.

    `labels` is int[examples], 1 for the positive class, which occurs; `scores` is float[examples].
    """
    true_positives, false_positives = _counts_by_threshold(labels, scores)
    recall = true_positives / true_positives[-1]
    precision = true_positives / (true_positives + false_positives)
    # Steps: a straight line between two points of this curve is too optimistic (Davis and Goadrich, 2006).
    return Curve(recall, precision, float(np.sum(np.diff(recall, prepend=0.0) * precision)))


def _scores(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of every class, float64[classes] each."""
    right, predicted, support = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    return _ratio(right, predicted), _ratio(right, support), _ratio(2 * right, predicted + support)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, 1)


def _counts_by_threshold(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many true and false positives there are at each distinct score, from the highest score down."""
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(labels[order] == 1)[last_of_equal]
    return true_positives.astype(np.float64), (last_of_equal + 1 - true_positives).astype(np.float64)
