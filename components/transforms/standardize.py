"""Standardize: numbers of mean 0 and standard deviation 1."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.scaling import SMALLEST_SCALE, FittedScaling, extremes
from headrace.components.transforms.transform import Statistics, Transform


class FittedStandardize(FittedScaling):
    """(x - mean) / standard deviation of the training rows (population); a deviation of 0 makes every value 0."""

    kind: Literal["standardize"] = "standardize"
    mean: float
    standard_deviation: Annotated[float, Field(ge=0)]

    @property
    def shift(self) -> float:
        """The mean."""
        return self.mean

    @property
    def scale(self) -> float:
        """The standard deviation."""
        return self.standard_deviation


class Standardize(Transform):
    """(x - mean) / standard deviation; a constant column becomes 0."""

    kind: Literal["standardize"] = "standardize"

    takes = ("number",)
    gives = "number"
    fitted = FittedStandardize

    @property
    def statistics(self) -> Statistics:
        """Numbers."""
        return "numbers"

    def fit(self, column: ColumnStatistics) -> FittedStandardize:
        """Take mean and deviation, correctly rounded; 0 for a deviation that float32 can't divide by."""
        minimum, maximum = extremes(column)
        mean, deviation = column.known(column.numbers.mean), column.known(column.numbers.standard_deviation)
        if minimum == maximum or deviation < SMALLEST_SCALE:
            return FittedStandardize(mean=minimum, standard_deviation=0)
        return FittedStandardize(mean=mean, standard_deviation=deviation)
