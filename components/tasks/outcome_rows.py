"""What a model made of each row that it is measured on, and the metrics of these rows.

A table of outcomes has a row for each example: what was true (`target`), what was predicted (`prediction`) and the
`loss`. It holds all that the metrics of its task are made of. Metrics of some of the rows, or of rows that count
several times, need no model.
"""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from headrace.components.schema.labels import CategoryLabel, NumbersLabel
from headrace.components.serving_model.next_tokens import NextTokens
from headrace.components.tasks.category_outcome import (
    CALIBRATION_BINS,
    brier_scores,
    calibration_gaps,
    example_losses,
)
from headrace.components.tasks.metric_names import metric_prefixes
from headrace.components.tasks.row_metrics import (
    MeanMetric,
    Numbers,
    RankMetric,
    RowMetric,
    SumMetric,
    average_precision,
    mean_of,
    ratio_of,
    roc_area,
    transformed,
)

MOST_PROBABILITIES = 100  # classes; of more, only the predicted one's is kept
RowMetrics = Mapping[str, Callable[[], RowMetric]]  # made when asked for: some hold a column for each class


def category_rows(labels: np.ndarray, probabilities: np.ndarray, *, label: CategoryLabel) -> pl.DataFrame:
    """Outcomes of int[rows] labels and float32[rows, classes] probabilities.

    `probability_<class>` for each class or, of more than 100, `probability` of the predicted one.
    """
    names = np.array(label.classes, dtype=object)
    if len(label.classes) <= MOST_PROBABILITIES:
        given = {f"probability_{name}": probabilities[:, place] for place, name in enumerate(label.classes)}
    else:
        given = {"probability": probabilities.max(axis=1)}
    predicted = probabilities.argmax(axis=1)
    return pl.DataFrame(
        {
            "target": pl.Series(names[labels].tolist(), dtype=pl.String),
            "prediction": pl.Series(names[predicted].tolist(), dtype=pl.String),
            "loss": example_losses(labels, probabilities),
            **given,
        }
    )


def category_row_metrics(rows: pl.DataFrame, *, label: CategoryLabel) -> RowMetrics:
    """Metrics of outcomes of `category_rows`; those that need all probabilities only where they are kept."""
    places = {name: place for place, name in enumerate(label.classes)}
    labels, predicted = (
        rows[name].replace_strict(places, return_dtype=pl.Int64).to_numpy() for name in ("target", "prediction")
    )
    metrics: dict[str, Callable[[], RowMetric]] = {
        "loss": lambda: mean_of(rows["loss"].to_numpy()),
        "accuracy": lambda: mean_of(labels == predicted),
    }
    for name, function in _OF_CONFUSIONS.items():
        metrics[name] = lambda function=function: _of_confusions(  # type: ignore[misc]
            labels, predicted, len(label.classes), function
        )
    columns = [f"probability_{name}" for name in label.classes]
    if not set(columns) <= set(rows.columns):
        return metrics
    probabilities = rows.select(columns).to_numpy()
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    metrics["log_loss"] = lambda: mean_of(-np.log(given.clip(np.finfo(np.float64).eps, 1.0)))
    metrics["brier"] = lambda: mean_of(brier_scores(labels, probabilities))
    metrics["expected_calibration_error"] = lambda: _calibration(*calibration_gaps(labels, probabilities))
    if len(label.classes) == 2:
        metrics["roc_auc"] = lambda: RankMetric(probabilities[:, 1], labels == 1, roc_area)
        metrics["average_precision"] = lambda: RankMetric(probabilities[:, 1], labels == 1, average_precision)
    else:
        metrics["average_precision"] = lambda: MeanMetric(
            [RankMetric(probabilities[:, one], labels == one, average_precision) for one in np.unique(labels)]
        )
    return metrics


def number_rows(labels: np.ndarray, predictions: np.ndarray) -> pl.DataFrame:
    """Outcomes of float[rows] labels and predictions; `loss` is the squared error."""
    return pl.DataFrame({"target": labels, "prediction": predictions, "loss": (predictions - labels) ** 2})


def number_row_metrics(rows: pl.DataFrame) -> RowMetrics:
    """Metrics of outcomes of `number_rows`."""
    return _number_metrics(rows["target"].to_numpy(), rows["prediction"].to_numpy())


def numbers_rows(labels: np.ndarray, predictions: np.ndarray, *, label: NumbersLabel) -> pl.DataFrame:
    """Outcomes of float[rows, numbers]: `target_<column>` and `prediction_<column>` for each number, and the loss.

    The loss of a row is its mean squared error, in standard deviations of each number among the rows.
    """
    deviations = np.std(labels, axis=0)
    errors = (predictions - labels) / np.where(deviations > 0, deviations, 1.0)
    columns = {"target": labels, "prediction": predictions}
    return pl.DataFrame(
        {
            f"{kind}_{name}": values[:, place]
            for kind, values in columns.items()
            for place, name in enumerate(label.targets)
        }
        | {"loss": np.mean(errors**2, axis=1)}
    )


def numbers_row_metrics(rows: pl.DataFrame, *, label: NumbersLabel) -> RowMetrics:
    """Metrics of outcomes of `numbers_rows`: of all numbers together, and of each."""
    targets, predictions = (
        rows.select(f"{kind}_{name}" for name in label.targets).to_numpy() for kind in ("target", "prediction")
    )
    metrics = dict(_together(targets, predictions))
    for place, prefix in enumerate(metric_prefixes(label)):
        each = _number_metrics(targets[:, place], predictions[:, place])
        metrics |= {f"{prefix}.{name}": metric for name, metric in each.items()}
    return metrics


def token_rows(found: NextTokens) -> pl.DataFrame:
    """Outcomes of texts: how many tokens each has, how many of them were predicted, and its loss, in nats a token."""
    is_token = found.is_token
    tokens = is_token.sum(axis=1)
    nats = np.where(is_token, found.losses, 0).sum(axis=1, dtype=np.float64)
    return pl.DataFrame(
        {
            "tokens": tokens,
            "correct_tokens": (is_token & (found.targets == found.predicted)).sum(axis=1),
            "loss": nats / np.maximum(tokens, 1),
        }
    )


def token_row_metrics(rows: pl.DataFrame) -> RowMetrics:
    """Metrics of outcomes of `token_rows`: ratios of sums over all texts."""
    tokens = rows["tokens"].to_numpy()
    nats = ratio_of(rows["loss"].to_numpy() * tokens, tokens)
    return {
        "cross_entropy": lambda: nats,
        "perplexity": lambda: transformed(nats, np.exp),
        "accuracy": lambda: ratio_of(rows["correct_tokens"].to_numpy(), tokens),
    }


def _number_metrics(labels: np.ndarray, predictions: np.ndarray) -> RowMetrics:
    errors = predictions - labels
    squared = mean_of(errors**2)
    metrics: dict[str, Callable[[], RowMetric]] = {
        "loss": lambda: squared,
        "root_mean_squared_error": lambda: transformed(squared, np.sqrt),
        "mean_absolute_error": lambda: mean_of(np.abs(errors)),
    }
    if np.var(labels) > 0:
        metrics["r2"] = lambda: _r2(labels, errors)
    return metrics


def _r2(labels: np.ndarray, errors: np.ndarray) -> SumMetric:
    centered = labels - labels.mean()
    columns = np.stack([np.ones(len(labels)), errors**2, centered, centered**2], axis=1)
    return SumMetric(columns, lambda sums: 1 - sums[:, 1] / _squares(sums[:, 0], sums[:, 2], sums[:, 3]))


def _together(labels: np.ndarray, predictions: np.ndarray) -> RowMetrics:
    """Metrics over several numbers, whose errors are in standard deviations of the rows that count."""
    errors, centered = predictions - labels, labels - labels.mean(axis=0)
    width = labels.shape[1]
    columns = np.hstack([np.ones((len(labels), 1)), errors**2, np.abs(errors), centered, centered**2])

    def parts(sums: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Mean squared and absolute errors, and variances, float64[draws, numbers] each."""
        rows, [squared, absolute, sum_of, squares] = sums[:, :1], np.split(sums[:, 1:], 4, axis=1)
        return squared / rows, absolute / rows, squares / rows - (sum_of / rows) ** 2

    def scaled(errors: Numbers, scales: Numbers) -> Numbers:
        mean: Numbers = (errors / np.where(scales > 0, scales, 1.0)).mean(axis=1)
        return mean

    def loss(sums: Numbers) -> Numbers:
        squared, _, variances = parts(sums)
        return scaled(squared, variances)

    def absolute(sums: Numbers) -> Numbers:
        _, errors, variances = parts(sums)
        return scaled(errors, np.sqrt(np.maximum(variances, 0)))

    metrics: dict[str, Callable[[], RowMetric]] = {
        "loss": lambda: SumMetric(columns, loss),
        "root_mean_squared_error": lambda: SumMetric(columns, lambda sums: np.sqrt(loss(sums))),
        "mean_absolute_error": lambda: SumMetric(columns, absolute),
    }
    spread = [place for place in range(width) if np.var(labels[:, place]) > 0]
    if spread:
        metrics["r2"] = lambda: MeanMetric([_r2(labels[:, place], errors[:, place]) for place in spread])
    return metrics


def _squares(count: Numbers, total: Numbers, squares: Numbers) -> Numbers:
    """The sum of squared deviations from the mean; NaN where there are none."""
    found = squares - total**2 / count
    return np.where(found > 0, found, np.nan)


def _calibration(bins: np.ndarray, gaps: np.ndarray) -> SumMetric:
    columns = np.zeros((len(gaps), CALIBRATION_BINS + 1))
    columns[np.arange(len(gaps)), bins] = gaps
    columns[:, -1] = 1
    return SumMetric(columns, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])


def _of_confusions(
    labels: np.ndarray, predicted: np.ndarray, classes: int, function: Callable[[Numbers, Numbers, Numbers], Numbers]
) -> SumMetric:
    """A metric of right predictions, predictions and labels by class: of classes that occur, the others are 0."""
    occur = np.flatnonzero(_counts(predicted, classes) | _counts(labels, classes))
    is_label, is_predicted = (values[:, np.newaxis] == occur for values in (labels, predicted))
    columns = np.hstack([is_label & is_predicted, is_predicted, is_label]).astype(np.float64)
    return SumMetric(columns, lambda sums: function(*np.split(sums, 3, axis=1)))


def _counts(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels, minlength=classes) > 0


def _mean_where(values: Numbers, occurs: np.ndarray) -> Numbers:
    mean: Numbers = np.where(occurs, values, 0).sum(axis=1) / occurs.sum(axis=1)
    return mean


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    return part / np.where(whole > 0, whole, 1)


def _mcc(right: Numbers, predicted: Numbers, support: Numbers) -> Numbers:
    rows = support.sum(axis=1)
    together = rows * right.sum(axis=1) - (predicted * support).sum(axis=1)
    spread = (rows**2 - (predicted**2).sum(axis=1)) * (rows**2 - (support**2).sum(axis=1))
    return np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


_OF_CONFUSIONS: Mapping[str, Callable[[Numbers, Numbers, Numbers], Numbers]] = {
    "precision": lambda right, predicted, support: _mean_where(_ratio(right, predicted), predicted + support > 0),
    "recall": lambda right, predicted, support: _mean_where(_ratio(right, support), predicted + support > 0),
    "f1": lambda right, predicted, support: _mean_where(
        _ratio(2 * right, predicted + support), predicted + support > 0
    ),
    "balanced_accuracy": lambda right, _, support: _mean_where(_ratio(right, support), support > 0),
    "mcc": _mcc,
}
