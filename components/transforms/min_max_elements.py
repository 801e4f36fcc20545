"""Min-max of elements: the numbers of each place of a vector go from 0 to 1."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.element_scaling import FittedElementScaling, Numbers
from headrace.components.transforms.min_max import MinMax
from headrace.components.transforms.transform import Statistics, Transform


class FittedMinMaxElements(FittedElementScaling):
    """(x - minimum) / (maximum - minimum) of the training rows, place by place."""

    kind: Literal["min_max_elements"] = "min_max_elements"
    minima: Annotated[Numbers, Field(min_length=1)]
    maxima: Annotated[Numbers, Field(min_length=1)]

    @property
    def shifts(self) -> Numbers:
        """The minima."""
        return self.minima

    @property
    def scales(self) -> Numbers:
        """The ranges."""
        return tuple(high - low for low, high in zip(self.minima, self.maxima, strict=True))


class MinMaxElements(Transform):
    """(x - minimum) / (maximum - minimum) for each place of a vector; a constant place becomes 0."""

    kind: Literal["min_max_elements"] = "min_max_elements"

    takes = ("vector",)
    gives = None
    fitted = FittedMinMaxElements

    @property
    def statistics(self) -> Statistics:
        """Elements."""
        return "elements"

    def fit(self, column: ColumnStatistics) -> FittedMinMaxElements:
        """Fit `min_max` to each place."""
        each = [MinMax().fit(one) for one in column.places]
        return FittedMinMaxElements(
            minima=tuple(one.minimum for one in each), maxima=tuple(one.maximum for one in each)
        )
