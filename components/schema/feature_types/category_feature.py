"""Categories: texts that stand for themselves."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator

from headrace.components.schema.feature_types.feature_type import Deviation, FeatureType, Rule, Summarized, raw

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

_MOST_CATEGORIES = 50  # for a linear model: the most frequent ones
_MOST_CODES = 250  # for trees, whose bins are 255


def _compiled(pattern: str) -> str:
    import polars as pl  # params.yaml is read where Airflow parses DAGs, which must not load Polars

    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {' '.join(str(error).split())}") from error
    return pattern


def _with_one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"{pattern!r} must have one group, in parentheses: the part that is taken")
    return pattern


class CategoryFeature(FeatureType):
    """A category, stored as text."""

    type: Literal["category"] = "category"
    nullable: bool = False
    """Whether a value may be missing. The empty text counts as missing."""

    classes: tuple[str, ...] | None = None
    """The values that are allowed; a row with another one fails. `null` allows any text."""

    pattern: Annotated[str, AfterValidator(_compiled)] | None = None
    """A regular expression (RE2) that the whole text must match."""

    unique: bool = False
    """Whether all rows must have different values."""

    column: str | None = None
    """The column of the source to read; `null` for the one with the feature's name."""

    extract: Annotated[str, AfterValidator(_with_one_group)] | None = None
    """A regular expression with one group, whose match in `column` is the category. It is missing where nothing
    matches.
    """

    described: ClassVar[str] = "a category"
    summarized_as: ClassVar[Summarized] = "categories"
    input_dtype: ClassVar[Literal["float32", "string"]] = "string"
    simple_columns: ClassVar[str] = "categories one-hot"

    @model_validator(mode="after")
    def _extract_has_a_column(self) -> Self:
        if self.extract and self.column is None:
            raise ValueError("extract needs column: the column of the source that it is extracted from")
        return self

    def read_from(self, name: str) -> tuple[str, ...]:
        """The column that is read or extracted from."""
        return (name if self.column is None else self.column,)

    @property
    def is_nullable(self) -> bool:
        """Whether a value may be missing."""
        return self.nullable

    @property
    def arrow_type(self) -> "pa.DataType":
        """Text."""
        import pyarrow as pa

        return pa.large_string()

    def derived(self, found: "Mapping[str, pl.DataType]") -> "pl.Expr | None":  # noqa: ARG002 - all types are cast
        """Another column, or a part of its text; null where that is missing or has no such part."""
        import polars as pl

        if self.column is None:
            return None
        text = pl.col(self.column).cast(pl.String)
        return text if self.extract is None else text.str.extract(self.extract, 1)

    def parsed(self, name: str, found: "pl.DataType") -> "pl.Expr":
        """String; of a number, the class that it stands for."""
        import polars as pl

        column = pl.col(name)
        if found != pl.String:
            return self._class_of_number(column)
        return pl.when(column != "").then(column)  # "" stands for a missing category where a model is served

    def _class_of_number(self, column: "pl.Expr") -> "pl.Expr":
        """The class that a number stands for: the one so named or, where names are words, the one at that place."""
        import polars as pl

        classes = self.classes
        if classes is None or all(name.isdecimal() for name in classes):
            return column.cast(pl.String)
        return column.cast(pl.Int64).replace_strict(range(len(classes)), classes, default=None, return_dtype=pl.String)

    def rules(self, name: str, found: "Mapping[str, pl.DataType]") -> list[Rule]:  # noqa: ARG002
        """It must match the pattern, and be one of the classes."""
        import polars as pl

        missing = raw(name).is_null() | (raw(name).cast(pl.String) == "")
        rules = [] if self.nullable else [Rule(name, "missing", "a value", missing)]
        if self.pattern is not None:
            matches = pl.col(name).str.contains(f"^(?:{self.pattern})$").fill_null(False)
            rules.append(Rule(name, "other pattern", f"text that matches {self.pattern}", ~missing & ~matches))
        if self.classes is not None:
            known = pl.col(name).is_in(self.classes).fill_null(False)
            rules.append(Rule(name, "unknown class", f"one of {', '.join(self.classes)}", ~missing & ~known))
        return rules

    def without_limits(self) -> Self:
        """Any text: what no training row had counts as another category."""
        return self.model_copy(update={"classes": None, "pattern": None})

    def deviations(self, values: "pl.Series") -> Iterator[Deviation]:
        """How many texts do not match the pattern."""
        if self.pattern is None:
            return
        others = values.filter(~values.str.contains(f"^(?:{self.pattern})$"))
        if len(others):
            yield Deviation(len(others), f"values do not match {self.pattern}", others[0])

    def raw_values(self, column: "pl.Expr") -> "pl.Expr":
        """String; "" is missing."""
        import polars as pl

        return pl.when(column != "").then(column)

    @property
    def made_up(self) -> "pl.Series":
        """Two categories."""
        import polars as pl

        return pl.Series(["a", "b"])

    def model_input(self, values: "pl.Series") -> "np.ndarray":
        """Text[rows, 1] as dtype object; "" where it is missing."""
        return values.fill_null("").to_numpy().astype(object).reshape(-1, 1)

    def simple_values(self, train: "pl.Series", test: "pl.Series") -> tuple[Any, Any]:
        """One-hot columns of the most frequent categories, and one for all others."""
        import numpy as np

        codes = _codes(train, most=_MOST_CATEGORIES)
        one_hot = np.eye(len(codes) + 1)
        return one_hot[_coded(train, codes)], one_hot[_coded(test, codes)]

    def tree_values(self, train: "pl.Series", test: "pl.Series") -> "tuple[np.ndarray, np.ndarray]":
        """Codes of the most frequent categories, and one for all others."""
        import numpy as np

        codes = _codes(train, most=_MOST_CODES)
        return _coded(train, codes).astype(np.float64), _coded(test, codes).astype(np.float64)


def _codes(train: "pl.Series", *, most: int) -> dict[str, int]:
    """The most frequent categories of training rows, each with its place."""
    counts = train.drop_nulls().value_counts(sort=True, name="rows").sort("rows", train.name, descending=[True, False])
    return {name: place for place, name in enumerate(counts[train.name][:most].to_list())}


def _coded(values: "pl.Series", codes: Mapping[str, int]) -> "np.ndarray":
    """Places; len(codes) for all other categories, and a missing one."""
    import polars as pl

    return values.replace_strict(codes, default=len(codes), return_dtype=pl.Int64).fill_null(len(codes)).to_numpy()
