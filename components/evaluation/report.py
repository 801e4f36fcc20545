"""The report: one page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import polars as pl
from matplotlib.figure import Figure

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.drift import Drift
from headrace.components.evaluation.page_templates import environment, number
from headrace.components.evaluation.report_parts.curves import CurveTable
from headrace.components.evaluation.report_parts.part import Part
from headrace.components.evaluation.worst_examples import DrawnExample, WorstExample
from headrace.components.plots.figures import svg
from headrace.components.schema.labels import Label
from headrace.components.statistics.profile import ColumnProfile
from headrace.components.tasks.task import ClassScore, Outcome, Task
from headrace.components.tasks.variants import task_of

_MOST_SCORES = 200
_TABLE_CLASSES = 20  # a larger confusion matrix is shown as a figure, and its largest cells as a list
# The page's parts in their order, which is also that of its navigation. A part that does not apply is absent.
ORDER = (
    *("measured", "baselines", "thresholds", "calibration", "slices", "worst"),
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
    history: pl.DataFrame | None = None

    @property
    def task(self) -> Task:
        """What the model has learned."""
        return task_of(self.label)

    @property
    def headline(self) -> list[str]:
        """The four metrics that say most."""
        return [name for name in self.task.headline if name in self.outcome.metrics][:4]

    @property
    def tables(self) -> list[CurveTable]:
        """Curves that are shown as tables, too."""
        if self.history is None:
            return list(self.curves)
        return [
            *self.curves,
            CurveTable("learning_curves", "Learning curves", self.history.drop("seconds", strict=False)),
        ]

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
    def shown_scores(self) -> list[ClassScore]:
        """All classes or, of very many, those of the rows with the lowest F1."""
        scores = self.outcome.scores
        if len(scores) <= _MOST_SCORES:
            return list(scores)
        return sorted((score for score in scores if score.support), key=lambda score: score.f1)[:_MOST_SCORES]

    @property
    def matrix_is_table(self) -> bool:
        """Whether the confusion matrix is small enough to be read as a table."""
        return len(self.task.classes) <= _TABLE_CLASSES


def render(report: Report) -> str:
    """Return the page: HTML without scripts and without a single address to fetch, equal for equal reports."""
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            parts=report.parts,
            charts={name: svg(figure, name=name) for name, figure in report.figures.items()},
            curves={curve.name: curve.shown for curve in report.tables},
            texts=_texts(report),
        )
    )


def _texts(report: Report) -> dict[str, str]:
    """What charts show, in a sentence for who can't see them; others are named by their title."""
    said = {}
    for curve in report.tables:
        x, y = (name.replace("_", " ") for name in curve.points.columns[:2])
        first, last = (tuple(number(value) for value in row[:2]) for row in (curve.points.row(0), curve.points.row(-1)))
        said[curve.name] = f"{curve.title}: {y} over {x}, from {first[1]} at {first[0]} to {last[1]} at {last[0]}"
    return said
