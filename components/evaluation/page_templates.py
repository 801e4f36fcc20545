"""Templates of the page and of its parts, and how they write numbers and names."""

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from headrace.components.evaluation.worst_examples import data_uri

_SHARES = {"accuracy", "named", "judge_accuracy"}  # in percent
_FRACTIONS = {
    *(*_SHARES, "precision", "recall", "f1", "roc_auc", "average_precision", "mean_confidence"),
    *("balanced_accuracy", "mcc", "brier", "expected_calibration_error"),
}
_NAMES = {
    "roc_auc": "ROC AUC",
    "r2": "R²",
    "precision": "Macro precision",
    "recall": "Macro recall",
    "f1": "Macro F1",
    "mcc": "Matthews correlation",
}
_NAMES |= {"named": "Named by the judge", "judge_accuracy": "The judge's accuracy"}
_NAMES["cross_entropy"] = "Cross-entropy (nats a token)"
_MEASURES = {
    "columns": "columns added, removed or retyped",
    "rows": "rows, times as many or as few",
    "missing": "change of the share of missing values",
    "mean": "shift of the mean, in standard deviations",
    "quantile": "largest shift of a decile, in standard deviations",
    "psi": "population stability index",
    "label_psi": "population stability index of the label",
    "new_categories": "share of new categories",
}


@cache
def environment() -> Environment:
    """Templates of the page and of its parts, which escape every text."""
    rooms = ("evaluation", "evaluation.report_parts", "tasks")
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(f"headrace.components.{room}", ".") for room in rooms]),
        autoescape=True,  # class and column names come from other people's data
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # of a task's part
    )
    templates.filters |= {"metric": _metric, "metric_name": _metric_name, "number": number, "data_uri": data_uri}
    templates.filters |= {"measure": _MEASURES.__getitem__, "lower_first": _lower_first}
    return templates


def _metric(value: float, name: str, unit: str) -> str:
    if name in _FRACTIONS:
        return f"{value:.2%}" if name in _SHARES else f"{value:.3f}"
    own_unit = unit if name in {"root_mean_squared_error", "mean_absolute_error"} else ""
    return f"{value:,.4g} {own_unit}".rstrip()


def _metric_name(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " ").capitalize())


def _lower_first(text: str) -> str:
    """A name within a sentence; ROC AUC and R² stay as they are."""
    return text if text[1:2].isupper() or len(text) < 3 else text[:1].lower() + text[1:]


def number(value: float | None) -> str:
    """A number in four digits; "" for none."""
    return "" if value is None else f"{value:,.4g}"
