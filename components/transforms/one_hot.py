"""One-hot: a column for each category."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.ranks import FittedRanks
from headrace.components.transforms.transform import ModelColumn, Statistics, Transform

if TYPE_CHECKING:
    import polars as pl


class FittedOneHot(FittedRanks):
    """A first column for any other category and for a missing one, then one column per category."""

    kind: Literal["one_hot"] = "one_hot"

    def spread(self, values: "pl.Expr") -> list["pl.Expr"]:
        """A column for each rank."""
        import polars as pl

        return [(values == rank).cast(pl.Float32) for rank in range(len(self.categories) + 1)]

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """float32[batch, ranks]."""
        from keras import ops

        column = super().keras_form(column)
        ranks = ops.reshape(ops.arange(len(self.categories) + 1, dtype="float32"), (1, len(self.categories) + 1))
        return replace(column, values=ops.cast(ops.equal(column.values, ranks), "float32"))

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One column more than there are categories, in place of one."""
        return (shape[0] + len(self.categories),)


class OneHot(Transform):
    """One column per category seen in training, in sorted order, after a first one for any other category."""

    kind: Literal["one_hot"] = "one_hot"

    takes = ("category",)
    gives = "one_hot's columns"
    fitted = FittedOneHot
    shape_follows_from_data = True

    @property
    def statistics(self) -> Statistics:
        """Categories."""
        return "categories"

    def fit(self, column: ColumnStatistics) -> FittedOneHot:
        """Take the categories seen in training, sorted."""
        return FittedOneHot(categories=tuple(sorted(column.counts())))
