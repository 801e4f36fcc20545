"""Whether probabilities are what they say: of rows that are predicted with 0.8, 0.8 should be right."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headrace.components.evaluation.report_parts.curves import CurveTable


@dataclass(frozen=True)
class Calibration:
    """The calibration curve, and in which direction the model errs."""

    name: ClassVar[str] = "calibration"
    title: ClassVar[str] = "Calibration"

    curve: CurveTable
    gap: float
    """Mean probability of the predicted class, less the share that is right: above 0 is too sure."""

    @property
    def verdict(self) -> str:
        """The direction in a sentence."""
        if abs(self.gap) < 0.005:
            return "On average the model is as sure of its predictions as it is right."
        how = (
            "surer of its predictions than it is right"
            if self.gap > 0
            else "less sure of its predictions than it is right"
        )
        return f"On average the model is {how}, by {abs(self.gap):.3f}."


def calibration(curve: CurveTable) -> Calibration:
    """What a curve of calibration says."""
    probability, right, rows = curve.points.to_numpy().T
    return Calibration(curve, float(np.average(probability - right, weights=rows)))
