"""The report: one page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.drift import Drift
from headrace.components.evaluation.report_parts.curves import CurveTable
from headrace.components.evaluation.report_parts.part import Part
from headrace.components.evaluation.worst_examples import DrawnExample, WorstExample, data_uri
from headrace.components.plots.figures import svg
from headrace.components.schema.labels import Label
from headrace.components.statistics.profile import ColumnProfile
from headrace.components.tasks.task import Outcome, Task
from headrace.components.tasks.variants import task_of

_TABLE_CLASSES = 20  # a larger confusion matrix is shown as a figure, and its largest cells as a list
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


# The page's parts in their order, which is also that of its navigation. A part that does not apply is absent.
ORDER = (
    *("decision", "measured", "baselines", "thresholds", "calibration", "slices", "worst"),
    *("importance", "attributions", "data_and_fit", "learning_curves", "data", "drift", "drawn", "network", "origin"),
)


class ReportPart(NamedTuple):
    """A part whose template reads the report itself."""

    name: str
    title: str


@dataclass(frozen=True)
class Report:
    """What the page shows, as it is: the template decides on order and looks, and escapes every text."""

    title: str
    description: str
    label: Label
    features: Sequence[str]
    outcome: Outcome
    facts: Mapping[str, str]
    splits: Mapping[str, int]
    profiles: Mapping[str, ColumnProfile]
    figures: Mapping[str, Figure]
    worst: Sequence[WorstExample]
    drawn: Sequence[DrawnExample] = ()
    drift: Drift | None = None
    measured_on: Literal["test", "train"] = "test"
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    made: Sequence[Part] = ()
    curves: Sequence[CurveTable] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What the model has learned."""
        return task_of(self.label)

    @property
    def headline(self) -> list[str]:
        """The four metrics that say most."""
        return [name for name in self.task.headline if name in self.outcome.metrics][:4]

    @property
    def parts(self) -> "list[Part | ReportPart]":
        """All that apply, in their order."""
        own = {
            "measured": "On the training rows" if self.measured_on == "train" else "On the test split",
            "worst": "Worst examples" if self.worst else "",
            "data_and_fit": "Data and fit" if "data_and_fit" in self.figures else "",
            "learning_curves": "Learning curves",
            "data": "Data",
            "drift": "Drift" if self.drift is not None else "",
            "drawn": "Some examples" if self.drawn else "",
            "origin": "Where it comes from" if self.facts or self.links else "",
        }
        found: dict[str, Part | ReportPart] = {name: ReportPart(name, title) for name, title in own.items() if title}
        found |= {part.name: part for part in self.made}
        return [found[name] for name in ORDER if name in found]

    @property
    def matrix_is_table(self) -> bool:
        """Whether the confusion matrix is small enough to be read as a table."""
        return len(self.task.classes) <= _TABLE_CLASSES


def render(report: Report) -> str:
    """Return the page: HTML without scripts and without a single address to fetch, equal for equal reports."""
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            parts=report.parts,
            charts={name: svg(figure, name=name) for name, figure in report.figures.items()},
            curves={curve.name: curve.shown for curve in report.curves},
            texts=_texts(report),
            confusions=[] if report.outcome.matrix is None else _confusions(report.outcome.matrix, report.task.classes),
        )
    )


@cache
def _environment() -> Environment:
    rooms = ("evaluation", "evaluation.report_parts", "tasks")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(f"headrace.components.{room}", ".") for room in rooms]),
        autoescape=True,  # class and column names come from other people's data
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # of a task's part
    )
    environment.filters |= {"metric": _metric, "metric_name": _metric_name, "number": _number, "data_uri": data_uri}
    environment.filters |= {"measure": _MEASURES.__getitem__, "lower_first": _lower_first}
    return environment


def _texts(report: Report) -> dict[str, str]:
    """What charts show, in a sentence for who can't see them; others are named by their title."""
    said = {}
    for curve in report.curves:
        x, y = (name.replace("_", " ") for name in curve.points.columns[:2])
        first, last = (
            tuple(_number(value) for value in row[:2]) for row in (curve.points.row(0), curve.points.row(-1))
        )
        said[curve.name] = f"{curve.title}: {y} over {x}, from {first[1]} at {first[0]} to {last[1]} at {last[0]}"
    return said


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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _confusions(matrix: np.ndarray, classes: Sequence[str], *, most: int = 12) -> list[tuple[str, str, int]]:
    """The pairs (true, predicted, count) that are taken for each other most often."""
    wrong = matrix - np.diag(matrix.diagonal())
    cells = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(classes)) for cell in cells]
    return [(classes[row], classes[column], int(wrong[row, column])) for row, column in pairs if wrong[row, column]]
