"""Figures of the report's parts."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from headrace.components.evaluation.report_parts.curves import CurveTable
from headrace.components.evaluation.report_parts.part import Part
from headrace.components.evaluation.report_parts.thresholds import Thresholds
from headrace.components.plots import figures
from headrace.components.plots.curve import Curve


def figures_of(lines: Sequence[CurveTable], made: Sequence[Part], *, unit: str) -> dict[str, Figure]:
    """Figures by name."""
    drawn: dict[str, Figure] = {}
    for curve in lines:
        x, y, *rows = curve.points.to_numpy().T
        of_points = Curve(x, y, curve.area)
        match curve.name:
            case "roc":
                drawn[curve.name] = figures.roc(of_points, positive=curve.positive)
            case "precision_recall":
                drawn[curve.name] = figures.precision_recall(
                    of_points, positive=curve.positive, positive_fraction=curve.chance
                )
            case "calibration":
                drawn[curve.name] = figures.calibration(x, y, *rows)
            case "errors":
                drawn[curve.name] = figures.error_shares(x, y, unit=unit)
    for part in made:
        if isinstance(part, Thresholds):
            drawn[part.name] = figures.costs_by_threshold(part.lines, chosen=part.chosen)
    return drawn
