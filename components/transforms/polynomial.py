"""Polynomial: the terms by which a linear model becomes a polynomial of a number.

Chebyshev's polynomials are, of all bases of the polynomials of a degree, one that stays well-conditioned.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from headrace.components.errors import ParamsError
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.transform import FittedTransform, ModelColumn, Position, TableColumn, Transform

if TYPE_CHECKING:
    import polars as pl


class FittedPolynomial(FittedTransform):
    """The Chebyshev polynomials of degree 1 to `degree` of 2 * x - 1."""

    kind: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=1)]

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """The values, whose terms `spread` makes."""
        return column.values

    def spread(self, values: "pl.Expr") -> list["pl.Expr"]:
        """All terms in one column, Array(Float32, degree)."""
        import numpy as np
        import polars as pl

        dtype = pl.Array(pl.Float32, self.degree)

        def terms(block: pl.Series) -> pl.Series:
            columns = list(chebyshev(block.to_numpy(), degree=self.degree))
            return pl.Series(block.name, np.stack(columns, axis=1), dtype=dtype)

        return [values.map_batches(terms, return_dtype=dtype, is_elementwise=True)]

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """float32[batch, degree]."""
        import keras

        terms = list(chebyshev(column.values, degree=self.degree))
        return replace(column, values=terms[0] if self.degree == 1 else keras.layers.Concatenate()(terms))

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A column for each degree, in place of one."""
        return (shape[0] + self.degree - 1,)


class Polynomial(Transform):
    """`degree` columns: the Chebyshev polynomials of degree 1, 2, ... of what min_max gives, from 0 to 1."""

    kind: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=1, le=50)]
    """Number of columns: the polynomials of degree 1, 2 and so on."""

    takes = ("number",)
    gives = "a polynomial's terms"
    fitted = FittedPolynomial

    def check(self, at: Position) -> None:
        """Raise ParamsError unless min_max comes before it."""
        if at.before is None or at.before.kind != "min_max":
            raise ParamsError(f"{at.place}: polynomial takes values from 0 to 1; put min_max before it")

    def fit(self, column: ColumnStatistics) -> FittedPolynomial:  # noqa: ARG002 - whatever the column is like
        """Take the degree."""
        return FittedPolynomial(degree=self.degree)


def chebyshev(values: Any, *, degree: int) -> Iterator[Any]:
    """Yield T_1, ..., T_degree of 2 * values - 1, each of the type and shape of `values` (an array or a tensor).

    From 0 to 1 all lie between -1 and 1; outside of it they grow as fast as a polynomial does. They pass on an error of
    `values` up to 2 * degree**2 times as large.
    """
    place = values * 2.0 - 1.0
    before, term = place * 0.0 + 1.0, place
    for _ in range(degree):
        yield term
        before, term = term, place * term * 2.0 - before
