"""Impute: a value wherever one is missing."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from headrace.components.errors import DataError, ParamsError
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.transform import (
    FittedTransform,
    ModelColumn,
    Position,
    Statistics,
    TableColumn,
    Transform,
)

if TYPE_CHECKING:
    import polars as pl

    from headrace.components.statistics.summary import Summary


class FittedImpute(FittedTransform):
    """`value` where there was none; with `indicator`, a last column that is 1 there and 0 elsewhere."""

    kind: Literal["impute"] = "impute"
    value: float | str
    indicator: bool

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Values without a gap."""
        import polars as pl

        value = pl.lit(self.value) if isinstance(self.value, str) else pl.lit(self.value, pl.Float32)
        return pl.when(column.feature.is_missing(column.values)).then(value).otherwise(column.values)

    def table_indicators(self, column: TableColumn) -> list["pl.Expr"]:
        """1 where the raw value is missing, else 0."""
        import polars as pl

        return [column.feature.is_missing(column.raw).cast(pl.Float32)] if self.indicator else []

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """Numbers without a gap; a category's is filled where it is looked up."""
        from keras import ops

        if isinstance(self.value, str):
            return replace(column, replacement=self.value)
        missing = ops.isnan(column.values)
        return replace(column, values=ops.where(missing, self.value, column.values), missing=missing)

    def keras_indicators(self, column: ModelColumn) -> list[Any]:
        """1 where the value was missing, else 0."""
        from keras import ops

        return [ops.cast(column.missing, "float32")] if self.indicator else []

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One column more with the indicator."""
        return (shape[0] + self.indicator,)

    def summary_after(self, summary: "Summary | None") -> "Summary | None":
        """Summary with the value in place of what is missing."""
        from headrace.components.statistics.sketch import merge_counts
        from headrace.components.statistics.summary import CategorySummary, NumberSummary, number_summary

        match self.value, summary:
            case float(value), NumberSummary():
                return summary.filled(value)
            case float(value), CategorySummary(counts=dict(counts)):
                return number_summary(merge_counts(counts, {value: summary.missing}))
            case value, CategorySummary(counts=dict(counts)):
                filled = merge_counts(counts, {value: summary.missing})
                return CategorySummary(summary.rows, 0, filled, summary.limit)
        return None


class Impute(Transform):
    """Fills missing values; with `indicator`, adds a column that is 1 where the value was missing."""

    kind: Literal["impute"] = "impute"
    strategy: Literal["median", "most_frequent"]
    """What replaces a missing value. `median` is for numbers; of equally frequent values the smallest is taken."""

    indicator: bool = False
    """Whether to add a last column that is 1 where the value was missing, else 0."""

    takes = ("number", "category")
    gives = None
    fitted = FittedImpute
    fills = True

    @property
    def statistics(self) -> Statistics:
        """A sketch, which finds the median, or the counts of all values."""
        return "sketch" if self.strategy == "median" else "categories"

    def check(self, at: Position) -> None:
        """Raise ParamsError for what is never missing, and for the median of categories."""
        if at.feature.type not in self.takes:
            raise ParamsError(f"{at.place}: impute fills numbers and categories, not {at.feature.type}s")
        if at.feature.input_dtype == "string" and self.strategy == "median":
            raise ParamsError(f"{at.place}: a category has no median; use impute with strategy: most_frequent")

    def fit(self, column: ColumnStatistics) -> FittedImpute:
        """Take the median, or the most frequent value: of equally frequent ones the smallest."""
        if self.strategy == "median":
            value: float | str = column.known(column.median)
        else:
            counts = column.counts()
            value = min(counts, key=lambda one: (-counts[one], one))
        if isinstance(value, float) and math.isinf(value):
            raise DataError(f"{column.name}: most training values are too large for float32; scale them")
        return FittedImpute(value=value, indicator=self.indicator)
