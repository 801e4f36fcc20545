"""All parts that are made from a model's outcomes."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.components.evaluation.report_parts.attributions import attributions
from headrace.components.evaluation.report_parts.baselines import baselines
from headrace.components.evaluation.report_parts.calibration_part import calibration
from headrace.components.evaluation.report_parts.curves import CurveTable
from headrace.components.evaluation.report_parts.importance import importance
from headrace.components.evaluation.report_parts.network import network
from headrace.components.evaluation.report_parts.part import Part
from headrace.components.evaluation.report_parts.slices import slices
from headrace.components.evaluation.report_parts.subject import Subject
from headrace.components.evaluation.report_parts.thresholds import thresholds


def parts_of(subject: Subject, curves: Sequence[CurveTable], *, settings: Mapping[str, Any]) -> list[Part]:
    """Those that apply, in any order: the page has its own. `settings` are those of the training."""
    made: list[Part | None] = [make(subject) for make in (baselines, thresholds, slices, importance, attributions)]
    made += [calibration(curve) for curve in curves if curve.name == "calibration"]
    return [*(part for part in made if part is not None), network(subject, settings)]
