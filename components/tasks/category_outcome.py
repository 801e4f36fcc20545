"""Classes and what a model predicts of them: metrics, confusions, curves and the worst mistakes.

Written out in numpy: the import of scikit-learn's metrics alone takes longer than all of this. The tests hold every
number here equal to scikit-learn's.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from headrace.components.plots.curve import Curve
from headrace.components.schema.labels import CategoryLabel
from headrace.components.tasks.model_outputs import check_finite
from headrace.components.tasks.task import ClassScore, Mistake, Outcome

_SMALLEST_PROBABILITY = 1e-7  # as in Keras: a certain mistake costs 16.1 nats, not infinity
MOST_MATRIX_CLASSES = 1000
CALIBRATION_BINS = 15  # as Guo et al. (2017) have them


def category_outcome(
    labels: np.ndarray, probabilities: np.ndarray, *, label: CategoryLabel, worst_examples: int
) -> Outcome:
    """Metrics, confusions and the examples with the highest loss; of very many classes without a matrix.

    `labels` is int[examples], `probabilities` float[examples, classes]; raises TrainingError if one is not finite.
    """
    from headrace.components.plots import figures  # matplotlib, which metrics alone do not need

    check_finite(probabilities)
    predicted, classes = probabilities.argmax(axis=1), label.classes
    small = len(classes) <= MOST_MATRIX_CLASSES
    matrix = confusion_matrix(labels, predicted, num_classes=len(classes)) if small else None
    return Outcome(
        metrics=category_metrics(labels, probabilities),
        figures={} if matrix is None else {"confusion_matrix": figures.confusion(matrix, classes=classes)},
        worst=_least_probable(labels, probabilities, classes=classes, number=worst_examples),
        matrix=matrix,
        confusions=most_confused(labels, predicted, classes=classes),
        scores=class_scores(labels, predicted, classes=classes),
        worst_are=(
            "Those whose true class the model gave the lowest probability; the percentage is what it gave its own "
            "choice."
        ),
        detail_is="probability",
    )


def category_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return loss (categorical cross-entropy, nats), accuracy, macro averages and what unbalanced classes need.

    `labels` is int[examples], `probabilities` float[examples, classes]. Averages are over the classes that occur, as
    labels or as predictions; `balanced_accuracy` and `average_precision` over those that occur as labels. Of two
    classes, areas are of the second. Where there is no number (an area with one class in the labels) there is no key.
    """
    predicted = probabilities.argmax(axis=1)
    counts = ClassCounts.of(labels, predicted, num_classes=probabilities.shape[1])
    occurs = (counts.predicted + counts.support) > 0
    precision, recall, f1 = (scores[occurs].mean() for scores in _scores(counts))
    metrics = {
        "loss": example_losses(labels, probabilities).mean(),
        "accuracy": (labels == predicted).mean(),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "balanced_accuracy": balanced_accuracy(counts),
        "mcc": matthews_correlation(counts),
        "log_loss": -np.log(_given(labels, probabilities).clip(np.finfo(np.float64).eps, 1.0)).mean(),
        "brier": brier_scores(labels, probabilities).mean(),
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }
    present = np.unique(labels)
    if probabilities.shape[1] == 2 and len(present) == 2:
        metrics["roc_auc"] = roc_curve(labels, probabilities[:, 1]).area
    if len(present) > 1:
        one_against_rest = present[1:] if probabilities.shape[1] == 2 else present
        areas = [precision_recall_curve(labels == one, probabilities[:, one]).area for one in one_against_rest]
        metrics["average_precision"] = np.mean(areas)
    return {name: float(value) for name, value in metrics.items()}


class ClassCounts(NamedTuple):
    """For each class int64[classes]: examples that are right, that were predicted to have it, and that have it."""

    right: np.ndarray
    predicted: np.ndarray
    support: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray, *, num_classes: int) -> Self:
        """Counts of int[examples] labels and predictions."""
        found = (labels[labels == predicted], predicted, labels)
        return cls(*(np.bincount(values, minlength=num_classes) for values in found))


def balanced_accuracy(counts: ClassCounts) -> float:
    """Mean recall of the classes that occur as labels."""
    occurs = counts.support > 0
    return float((counts.right[occurs] / counts.support[occurs]).mean())


def matthews_correlation(counts: ClassCounts) -> float:
    """Correlation of true and predicted classes, from -1 to 1 (Gorodkin, 2004); 0 where one has no spread.

    Of two classes, that of Matthews (1975).
    """
    right, predicted, support = (values.astype(np.float64) for values in counts)
    rows = support.sum()
    together = rows * right.sum() - predicted @ support
    spread = (rows**2 - predicted @ predicted) * (rows**2 - support @ support)
    return float(together / np.sqrt(spread)) if spread > 0 else 0.0


def brier_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64[examples]: the squared error of the probabilities (Brier, 1950), summed over the classes.

    Of two classes, that of the second alone, which is half of the sum: 0 to 1, else 0 to 2.
    """
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(labels)), labels] -= 1
    squared: np.ndarray = errors[:, 1] ** 2 if errors.shape[1] == 2 else (errors**2).sum(axis=1)
    return squared


def calibration_gaps(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each example's bin int[examples], and float64[examples]: right or not, less the probability given to it.

    Bins of the predicted class's probability, equally wide; the largest of each belongs to it.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return bins, (probabilities.argmax(axis=1) == labels) - confidence


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Distance of the probability of the predicted class from the share that is right (Naeini et al., 2015)."""
    bins, gaps = calibration_gaps(labels, probabilities)
    return float(np.abs(np.bincount(bins, gaps, CALIBRATION_BINS)).sum() / len(labels))


def example_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64[examples]: minus the logarithm of the probability that was given to the true class."""
    losses: np.ndarray = -np.log(np.clip(_given(labels, probabilities), _SMALLEST_PROBABILITY, 1.0))
    return losses


def _given(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The probability that was given to each true class, float64[examples]."""
    given: np.ndarray = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return given


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Return int64[true class, predicted class]: how many examples of each class were taken for which."""
    cells = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(
    labels: np.ndarray, predicted: np.ndarray, *, classes: Sequence[str], most: int = 12
) -> list[tuple[str, str, int]]:
    """The pairs (true, predicted, count) that are taken for each other most often."""
    wrong = labels != predicted
    pairs, counts = np.unique(labels[wrong].astype(np.int64) * len(classes) + predicted[wrong], return_counts=True)
    chosen = np.argsort(-counts, kind="stable")[:most]
    found = [(*divmod(int(pairs[place]), len(classes)), int(counts[place])) for place in chosen]
    return [(classes[row], classes[column], count) for row, column, count in found]


def class_scores(labels: np.ndarray, predicted: np.ndarray, *, classes: Sequence[str]) -> list[ClassScore]:
    """Precision, recall, F1 and support of every class; a ratio of nothing to nothing counts as 0."""
    counts = ClassCounts.of(labels, predicted, num_classes=len(classes))
    precision, recall, f1 = (scores.tolist() for scores in _scores(counts))
    return [ClassScore(*row) for row in zip(classes, precision, recall, f1, counts.support.tolist(), strict=True)]


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


def _scores(counts: ClassCounts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of every class, float64[classes] each."""
    right, predicted, support = counts
    return _ratio(right, predicted), _ratio(right, support), _ratio(2 * right, predicted + support)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, 1)


def _counts_by_threshold(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many true and false positives there are at each distinct score, from the highest score down."""
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(labels[order] == 1)[last_of_equal]
    return true_positives.astype(np.float64), (last_of_equal + 1 - true_positives).astype(np.float64)


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
