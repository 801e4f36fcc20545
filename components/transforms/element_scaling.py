"""What standardize_elements and min_max_elements have in common: a shift and a scale for each place of a vector."""

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.components.transforms.transform import FittedTransform, ModelColumn, TableColumn

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

Numbers = tuple[float, ...]


class FittedElementScaling(FittedTransform):
    """(x - shift) / scale, place by place; a scale of 0 makes every value there 0."""

    @property
    @abstractmethod
    def shifts(self) -> Numbers:
        """What is subtracted at each place."""

    @property
    @abstractmethod
    def scales(self) -> Numbers:
        """What is then divided by; 0 for a constant."""

    def _factors(self) -> "np.ndarray":
        """float32[length]: what is multiplied by instead of dividing, 0 for a scale of 0."""
        import numpy as np

        scales = np.asarray(self.scales, np.float32)
        return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Array(Float32, length)."""
        import polars as pl

        dtype = pl.Array(pl.Float32, len(self.shifts))
        shift, factor = (pl.lit(pl.Series([list(one)], dtype=dtype)) for one in (self.shifts, self._factors().tolist()))
        return (column.values - shift) * factor

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """float32[batch, length]."""
        import numpy as np

        return replace(column, values=(column.values - np.asarray(self.shifts, np.float32)) * self._factors())
