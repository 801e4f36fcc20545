"""What the names of metrics say, without loading Keras: params.yaml is checked where Airflow parses DAGs."""

from headrace.components.schema.labels import NumbersLabel
from headrace.components.serving_model.input_names import input_names

LAST = "last"  # instead of a metric's name: the last epoch is the best
_LOWER_IS_BETTER = ("loss", "error", "cross_entropy", "perplexity", "brier")


def lower_is_better(metric: str) -> bool:
    """Direction of a metric by its name: less is better of a loss, an error, cross-entropy, perplexity or Brier score.

    >>> lower_is_better("root_mean_squared_error"), lower_is_better("accuracy")
    (True, False)
    """
    return metric.endswith(_LOWER_IS_BETTER)


def with_validation(*names: str) -> tuple[str, ...]:
    """Metrics of an epoch, and the same ones of the validation split."""
    return (*names, *(f"validation_{name}" for name in names))


def metric_prefixes(label: NumbersLabel) -> tuple[str, ...]:
    """Names of several numbers within the names of their metrics: MLflow takes few characters."""
    return tuple(input_names(list(label.targets)).values())
