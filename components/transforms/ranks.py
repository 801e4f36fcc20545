"""What one_hot and ordinal have in common: a category's rank among those that are known."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from headrace.components.transforms.transform import FittedTransform, ModelColumn, TableColumn

if TYPE_CHECKING:
    import polars as pl

Categories = Annotated[tuple[str, ...], Field(min_length=1)]


class FittedRanks(FittedTransform):
    """1, 2, ... by the place in `categories`; 0 for any other category and for a missing one."""

    categories: Categories

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Ranks, Float32."""
        import polars as pl

        return (indices(column.values, self.categories, strict=False).cast(pl.Float32) + 1).fill_null(0)

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """Ranks, float32[batch, 1].

        Operations don't take strings, so "" is looked up like a category, as the last one, and replaced by its rank.
        """
        import keras
        from keras import ops

        lookup = keras.layers.StringLookup(vocabulary=[*self.categories, ""], oov_token="\0")  # noqa: S106
        ranks = ops.cast(lookup(column.values), "float32")
        missing = ops.equal(ranks, float(len(self.categories) + 1))
        replacement = column.replacement
        rank = self.categories.index(replacement) + 1 if replacement in self.categories else 0
        return replace(column, values=ops.where(missing, float(rank), ranks), missing=missing)


def indices(texts: "pl.Expr", categories: tuple[str, ...], *, strict: bool) -> "pl.Expr":
    """Each text's place in `categories`; for others null, or with `strict` an error."""
    import polars as pl

    # Not replace_strict: Polars 2.1 doesn't stream it, and would hold the whole table.
    return texts.cast(pl.Enum(categories), strict=strict).to_physical()
