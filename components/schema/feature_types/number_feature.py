"""Numbers, and dates as numbers of days."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.date_formats import DateFormat
from headrace.components.schema.feature_types.feature_type import Deviation, FeatureType, Rule, Summarized, raw
from headrace.components.schema.number_format import NumberFormat

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa


class NumberFeature(FeatureType):
    """A number, stored as float64."""

    type: Literal["number"] = "number"
    nullable: bool = False
    """Whether a value may be missing. If so, the first transform must be `impute`."""

    minimum: float | None = None
    """A row with a smaller value fails; `headrace predict` only warns of it."""

    maximum: float | None = None
    """A row with a larger value fails; `headrace predict` only warns of it."""

    unique: bool = False
    """Whether all rows must have different values."""

    date_format: DateFormat | None = None
    """Format of dates or times in the source: that of Python's strptime with a year (`%d.%m.%Y`), or `iso` for ISO
    8601. They become days since 1970-01-01 (UTC).
    """

    number_format: NumberFormat | None = None
    """Format of numbers that are text in the source, unless they are plain, such as 1234.5."""

    sum_of: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """Columns of the source whose sum is the value; missing where one of them is."""

    described: ClassVar[str] = "a number"
    summarized_as: ClassVar[Summarized] = "numbers"
    is_number: ClassVar[bool] = True
    simple_columns: ClassVar[str] = "standardized numbers"

    @model_validator(mode="after")
    def _a_date_is_neither_sum_nor_number(self) -> Self:
        if self.sum_of and self.date_format:
            raise ValueError("dates can't be added up: give date_format or sum_of")
        if self.number_format and self.date_format:
            raise ValueError("a column has dates or numbers: give date_format or number_format")
        return self

    def read_from(self, name: str) -> tuple[str, ...]:
        """The columns of a sum."""
        return self.sum_of or (name,)

    @property
    def is_read_as_number(self) -> bool:
        """Whether it is plain: dates, and numbers as people write them, are text."""
        return self.date_format is None and self.number_format is None

    @property
    def date_formats(self) -> tuple[str, ...]:
        """Format of its dates."""
        return () if self.date_format is None else (self.date_format,)

    @property
    def is_nullable(self) -> bool:
        """Whether a value may be missing."""
        return self.nullable

    @property
    def arrow_type(self) -> "pa.DataType":
        """float64."""
        import pyarrow as pa

        return pa.float64()

    def derived(self, found: "Mapping[str, pl.DataType]") -> "pl.Expr | None":
        """The sum of the numbers; null where one of them is missing or none."""
        import polars as pl

        from headrace.components.schema.numbers import as_number

        if self.sum_of is None:
            return None
        numbers = [as_number(pl.col(column), found[column], self.number_format) for column in self.sum_of]
        return pl.sum_horizontal(numbers, ignore_nulls=False)

    def parsed(self, name: str, found: "pl.DataType") -> "pl.Expr":
        """Float64; of a date, days since 1970."""
        import polars as pl

        from headrace.components.schema.numbers import as_number
        from headrace.components.schema.times import MICROSECONDS_A_DAY, parse_time

        if self.date_format is None:
            return as_number(pl.col(name), found, self.number_format)
        days = parse_time(pl.col(name).cast(pl.String), self.date_format).dt.timestamp("us") / MICROSECONDS_A_DAY
        return days.alias(name)

    def rules(self, name: str, found: "Mapping[str, pl.DataType]") -> list[Rule]:
        """It must be a finite number in its range, of no more digits than float64 has."""
        import polars as pl

        value, missing = pl.col(name), raw(name).is_null()
        rules = [
            Rule(name, "not a number", self._kind, value.is_null() & ~missing),
            Rule(name, "not finite", "a finite number", ~value.is_finite()),
        ]
        if not self.nullable:
            rules.append(Rule(name, "missing", self._kind, missing))
        if self.date_format is None:
            parts = [one for one in (name, *(self.sum_of or ())) if one in found]  # a sum may be there as such
            exact = [one for one in parts if found[one] == pl.String or found[one].is_integer()]
            expected = "a whole number that float64 can hold"
            rules += [Rule(one, "too many digits", expected, self._lacks_digits(one, found[one])) for one in exact]
        if self.minimum is not None:
            rules.append(Rule(name, "out of range", self._range, value < self.minimum))
        if self.maximum is not None:
            rules.append(Rule(name, "out of range", self._range, value > self.maximum))
        return rules

    @property
    def _kind(self) -> str:
        from headrace.components.schema.times import written

        if self.date_format is not None:
            return written(self.date_format)
        return f"a number such as {self.number_format.example}" if self.number_format else "a number"

    @property
    def _range(self) -> str:
        if self.maximum is None:
            return f"a number of at least {self.minimum:g}"
        if self.minimum is None:
            return f"a number of at most {self.maximum:g}"
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def _lacks_digits(self, name: str, found: "pl.DataType") -> "pl.Expr":
        """Where a whole number, or text that is one, is another one as float64. Only beyond 2**53 that can be."""
        import polars as pl

        from headrace.components.schema.numbers import plain

        written = plain(raw(name), found, self.number_format)
        number = written.cast(pl.Float64, strict=False)
        is_large = (number.abs() >= 2.0**53) & number.is_finite()
        if found == pl.String:
            written = pl.when(is_large).then(written)
            return written.map_batches(_lose_digits, return_dtype=pl.Boolean, is_elementwise=True).fill_null(False)
        kept = number.cast(pl.Int128, strict=False) == written.cast(pl.Int128, strict=False)
        return is_large & ~kept.fill_null(False)

    def without_limits(self) -> Self:
        """Any number."""
        return self.model_copy(update={"minimum": None, "maximum": None})

    def deviations(self, values: "pl.Series") -> Iterator[Deviation]:
        """How many numbers are out of range."""
        low = float("-inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if outside := (~values.is_between(low, high)).sum():
            yield Deviation(int(outside), f"values are outside of {low:g} to {high:g}")

    def raw_values(self, column: "pl.Expr") -> "pl.Expr":
        """Float32 first of all, because a Keras model gets no more than that."""
        import polars as pl

        return column.cast(pl.Float32)

    def is_missing(self, values: "pl.Expr") -> "pl.Expr":
        """NaN counts as none, since a Keras model knows no other mark."""
        return values.is_null() | values.is_nan()

    @property
    def must_be_filled(self) -> bool:
        """Whether a value may be missing: what is computed with NaN is NaN."""
        return self.nullable

    @property
    def made_up(self) -> "pl.Series":
        """1 and 2."""
        import polars as pl

        return pl.Series([1.0, 2.0])

    def model_input(self, values: "pl.Series") -> "np.ndarray":
        """float32[rows, 1]; NaN where it is missing."""
        import polars as pl

        return values.cast(pl.Float32).to_numpy().reshape(-1, 1)  # a null becomes NaN

    def simple_values(self, train: "pl.Series", test: "pl.Series") -> tuple[Any, Any]:
        """Standardized value, the median in the place of a missing one, and whether it is missing."""
        import numpy as np
        import polars as pl

        known = train.drop_nulls().to_numpy().astype(np.float64)
        middle, deviation = (float(np.median(known)), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)

        def of(values: "pl.Series") -> "np.ndarray":
            filled = (values.cast(pl.Float64).fill_null(middle).to_numpy() - middle) / deviation
            return np.stack([np.clip(np.nan_to_num(filled), -1e6, 1e6), values.is_null().to_numpy()], axis=1)

        return of(train), of(test)


def _lose_digits(texts: "pl.Series") -> "pl.Series":
    import polars as pl

    words = texts.drop_nulls().unique()
    lost = pl.Series([_loses_digits(word) for word in words], dtype=pl.Boolean)
    return texts.replace_strict(words, lost, default=None, return_dtype=pl.Boolean)


def _loses_digits(text: str) -> bool:
    """Whether text is a whole number, in digits or other clothes (`1.0`, `1e3`), that float64 turns into another one.

    What float64 writes itself, as 1e23, it has not turned, unless all digits are there to be kept.
    """
    exact, nearest = Decimal(text), float(text)
    is_whole = exact == exact.to_integral_value()
    is_own = not text.lstrip("+-").isdecimal() and exact == Decimal(repr(nearest))
    return is_whole and exact != Decimal(nearest) and not is_own
