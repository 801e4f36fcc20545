"""Vectors: lists of numbers, as many in each row, such as an embedding, a spectrum or the last values of a sensor."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from headrace.components.schema.feature_types.feature_type import Deviation, FeatureType, Rule, Shape, Summarized, raw

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa


class VectorFeature(FeatureType):
    """A list of `length` numbers in one column, stored as float32[length]; as text it is written `[1, 2.5, -3]`."""

    type: Literal["vector"] = "vector"
    length: Annotated[int, Field(ge=1, le=65_536)]
    """Number of values. A row with a list of another length fails, as does one with a value that is missing or not
    finite.
    """

    minimum: float | None = None
    """A row with a smaller value in its list fails; `headrace predict` only warns of it."""

    maximum: float | None = None
    """A row with a larger value in its list fails; `headrace predict` only warns of it."""

    described: ClassVar[str] = "a vector"
    summarized_as: ClassVar[Summarized] = "numbers"
    is_list: ClassVar[bool] = True
    is_named_input: ClassVar[bool] = True
    simple_columns: ClassVar[str] = "standardized values of vectors"

    @property
    def arrow_type(self) -> "pa.DataType":
        """A list of float32."""
        import pyarrow as pa

        # Nullable, because Parquet's reader gives the values of a list so.
        return pa.list_(pa.field("item", pa.float32(), nullable=True), self.length)

    @property
    def bytes_per_row(self) -> int:
        """Four for each value."""
        return 4 * self.length

    def parsed(self, name: str, found: "pl.DataType") -> "pl.Expr":
        """Array(Float32, length); null where there is no list, or one of another length."""
        import polars as pl

        lists = _lists(pl.col(name), found)
        return pl.when(lists.list.len() == self.length).then(lists).list.to_array(self.length).alias(name)

    def rules(self, name: str, found: "Mapping[str, pl.DataType]") -> list[Rule]:
        """It must be there, and be a list of that many finite numbers in their range."""
        import polars as pl

        expected, missing = f"a list of {self.length} numbers", raw(name).is_null()
        values, given = pl.col(name).arr.to_list(), _lists(raw(name), found[name])
        numbers = values.list
        rules = [
            Rule(name, "missing", expected, missing),
            Rule(name, "not a list", expected, given.is_null() & ~missing),
            Rule(name, "other length", expected, given.list.len() != self.length),
            Rule(name, "not a number", expected, numbers.eval(pl.element().is_null()).list.any()),
            Rule(name, "not finite", "finite numbers", numbers.eval(~pl.element().is_finite()).list.any()),
        ]
        if self.minimum is not None:
            rules.append(Rule(name, "out of range", self._range, numbers.min() < self.minimum))
        if self.maximum is not None:
            rules.append(Rule(name, "out of range", self._range, numbers.max() > self.maximum))
        return rules

    @property
    def _range(self) -> str:
        if self.maximum is None:
            return f"numbers of at least {self.minimum:g}"
        if self.minimum is None:
            return f"numbers of at most {self.maximum:g}"
        return f"numbers from {self.minimum:g} to {self.maximum:g}"

    def without_limits(self) -> Self:
        """Any finite numbers."""
        return self.model_copy(update={"minimum": None, "maximum": None})

    def deviations(self, values: "pl.Series") -> Iterator[Deviation]:
        """How many rows have a value out of range."""
        low = float("-inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if outside := ((values.arr.min() < low) | (values.arr.max() > high)).sum():
            yield Deviation(int(outside), f"lists have values outside of {low:g} to {high:g}")

    def raw_values(self, column: "pl.Expr") -> "pl.Expr":
        """Array(Float32, length)."""
        return column

    @property
    def shape(self) -> Shape:
        """One axis."""
        return (self.length,)

    @property
    def is_single(self) -> bool:
        """False, even of length 1: it is a list."""
        return False

    @property
    def made_up(self) -> "pl.Series":
        """Ones and twos."""
        import polars as pl

        return pl.Series([[1.0] * self.length, [2.0] * self.length], dtype=pl.Array(pl.Float32, self.length))

    def model_input(self, values: "pl.Series") -> "np.ndarray":
        """float32[rows, length]."""
        return values.to_numpy().reshape(-1, self.length)

    def simple_values(self, train: "pl.Series", test: "pl.Series") -> tuple[Any, Any]:
        """Standardized values, float64[rows, length]."""
        import numpy as np

        known = self.model_input(train).astype(np.float64)
        deviations = known.std(axis=0)
        middle, scale = known.mean(axis=0), np.where(deviations > 0, deviations, 1.0)
        return (known - middle) / scale, np.clip((self.model_input(test) - middle) / scale, -1e6, 1e6)


def _lists(column: "pl.Expr", found: "pl.DataType") -> "pl.Expr":
    """The column as List(Float32), null where there is no list; a value that is no number is null within it."""
    import polars as pl

    match found:
        case pl.List():
            return column.cast(pl.List(pl.Float32), strict=False)
        case pl.Array():
            return column.arr.to_list().cast(pl.List(pl.Float32), strict=False)
    items = column.cast(pl.String).str.strip_chars().str.extract(r"^\[(.*)\]$", 1).str.split(",")
    return items.list.eval(pl.element().str.strip_chars().cast(pl.Float32, strict=False))
