"""Figures of the report's parts."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from headrace.components.evaluation.report_parts.curves import CurveTable
from headrace.components.evaluation.report_parts.part import Part
from headrace.components.evaluation.report_parts.thresholds import Thresholds
from headrace.components.plots import figures


def figures_of(lines: Sequence[CurveTable], made: Sequence[Part], *, unit: str) -> dict[str, Figure]:
    """Figures by name; those of ROC and of precision and recall are the task's."""
    drawn = {}
    for curve in lines:
        match curve.name:
            case "calibration":
                drawn[curve.name] = figures.calibration(*curve.points.to_numpy().T)
            case "errors":
                drawn[curve.name] = figures.error_shares(*curve.points.to_numpy().T, unit=unit)
    for part in made:
        if isinstance(part, Thresholds):
            drawn[part.name] = figures.costs_by_threshold(part.lines, chosen=part.chosen)
    return drawn
