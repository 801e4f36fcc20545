"""Min-max: numbers from 0 to 1."""

from typing import Literal

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.scaling import FittedScaling, extremes
from headrace.components.transforms.transform import Statistics, Transform


class FittedMinMax(FittedScaling):
    """(x - minimum) / (maximum - minimum) of the training rows; equal extremes make every value 0."""

    kind: Literal["min_max"] = "min_max"
    minimum: float
    maximum: float

    @property
    def shift(self) -> float:
        """The minimum."""
        return self.minimum

    @property
    def scale(self) -> float:
        """The range."""
        return self.maximum - self.minimum


class MinMax(Transform):
    """(x - minimum) / (maximum - minimum), by the training rows' extremes; a constant column becomes 0."""

    kind: Literal["min_max"] = "min_max"

    takes = ("number",)
    gives = "number"
    fitted = FittedMinMax

    @property
    def statistics(self) -> Statistics:
        """Numbers."""
        return "numbers"

    def fit(self, column: ColumnStatistics) -> FittedMinMax:
        """Take the extremes."""
        minimum, maximum = extremes(column)
        return FittedMinMax(minimum=minimum, maximum=maximum)
