"""Standardize elements: the numbers of each place of a vector get mean 0 and standard deviation 1."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.element_scaling import FittedElementScaling, Numbers
from headrace.components.transforms.standardize import Standardize
from headrace.components.transforms.transform import Statistics, Transform


class FittedStandardizeElements(FittedElementScaling):
    """(x - mean) / standard deviation of the training rows (population), place by place."""

    kind: Literal["standardize_elements"] = "standardize_elements"
    means: Annotated[Numbers, Field(min_length=1)]
    standard_deviations: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]

    @property
    def shifts(self) -> Numbers:
        """The means."""
        return self.means

    @property
    def scales(self) -> Numbers:
        """The standard deviations."""
        return self.standard_deviations


class StandardizeElements(Transform):
    """(x - mean) / standard deviation for each place of a vector; a constant place becomes 0."""

    kind: Literal["standardize_elements"] = "standardize_elements"

    takes = ("vector",)
    gives = None
    fitted = FittedStandardizeElements

    @property
    def statistics(self) -> Statistics:
        """Elements."""
        return "elements"

    def fit(self, column: ColumnStatistics) -> FittedStandardizeElements:
        """Fit `standardize` to each place."""
        each = [Standardize().fit(one) for one in column.places]
        return FittedStandardizeElements(
            means=tuple(one.mean for one in each),
            standard_deviations=tuple(one.standard_deviation for one in each),
        )
