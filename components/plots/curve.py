"""A line from threshold to threshold."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """A line from threshold to threshold, and the area it stands for: float64[thresholds] each."""

    x: np.ndarray
    y: np.ndarray
    area: float
