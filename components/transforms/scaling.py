"""What standardize and min_max have in common: a shift and a scale, by which a number label can be scaled, too."""

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.components.errors import DataError
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.transform import InvertibleTransform, ModelColumn, TableColumn

if TYPE_CHECKING:
    import polars as pl

SMALLEST_SCALE = 1e-30  # float32 has no room to divide by less
_LARGEST = 1e38  # and little more to hold more: a difference of two must still be finite


class FittedScaling(InvertibleTransform):
    """(x - shift) / scale; a scale of 0 makes every value 0."""

    @property
    @abstractmethod
    def shift(self) -> float:
        """What is subtracted from a value."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """What a value is then divided by; 0 for a constant column."""

    def scaled(self, values: "pl.Expr") -> "pl.Expr":
        """(values - shift) * (1 / scale) in Float32, and 0 where the scale is 0."""
        import polars as pl

        if self.scale == 0:
            return values * pl.lit(0.0, pl.Float32)
        return (values - pl.lit(self.shift, pl.Float32)) * reciprocal(self.scale)

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Scaled values."""
        return self.scaled(column.values)

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """Scaled values."""
        values = (column.values - self.shift) / self.scale if self.scale else column.values * 0.0
        return replace(column, values=values)

    def inverse(self, values: Any) -> Any:
        """Values * scale + shift."""
        return values * self.scale + self.shift


def reciprocal(value: float) -> "pl.Expr":
    """What to multiply by instead of dividing: Polars 2.1 does so by itself, but not in a block of one row."""
    import numpy as np
    import polars as pl

    return pl.lit(float(np.float32(1) / np.float32(value)), pl.Float32)


def extremes(column: ColumnStatistics) -> tuple[float, float]:
    """Minimum and maximum; equal if float32 can't divide by what is between them."""
    minimum, maximum = column.known(column.numbers.minimum), column.known(column.numbers.maximum)
    if not all(abs(extreme) < _LARGEST for extreme in (minimum, maximum)):
        raise DataError(
            f"{column.name}: training values from {minimum} to {maximum} are too large for float32; scale them"
        )
    return minimum, minimum if maximum - minimum < SMALLEST_SCALE else maximum
