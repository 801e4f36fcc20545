"""What a type of feature is: its settings in params.yaml, and all that the stages must know of its values.

Polars, NumPy and what else is heavy are imported within functions, here and in each type: Airflow reads the settings.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from headrace.components.schema.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

Shape = tuple[int, ...]

Summarized = Literal["pixels", "numbers", "categories", "tokens"]
"""What a profile counts of a column: the values of pixels, numbers, categories, or the tokens of texts."""


@dataclass(frozen=True)
class Rule:
    """One way in which a column's value can be wrong."""

    column: str
    reason: str
    expected: str
    fails: "pl.Expr"


class Deviation(NamedTuple):
    """How many rows have a value that a model can live with, what is said of them behind the count, and the first."""

    rows: int
    words: str
    example: str | None = None


class FeatureType(Settings):
    """One feature of an example; what a type does not say has the default here: one number that is never missing."""

    type: str

    described: ClassVar[str]
    """What it is in messages, with its article: `an image`."""

    summarized_as: ClassVar[Summarized]
    """What the profile of the data counts of it."""

    simple_columns: ClassVar[str]
    """What `simple_values` gives, in words."""

    input_dtype: ClassVar[Literal["float32", "string"]] = "float32"
    """What a saved model takes."""

    is_number: ClassVar[bool] = False
    """Whether a value is one number."""

    is_list: ClassVar[bool] = False
    """Whether a value of the source is a list of numbers."""

    is_input_of_its_own: ClassVar[bool] = False
    """Whether a model can't take it beside other features: it has a height and a width, or is of tokens."""

    is_named_input: ClassVar[bool] = False
    """Whether a model of a file takes it by its name, unless its inputs say otherwise, although it could stand beside
    other features.
    """

    @classmethod
    def name(cls) -> str:
        """What `type` is in params.yaml."""
        return str(cls.model_fields["type"].default)

    @classmethod
    def require(cls, feature: "FeatureType") -> Self:
        """The feature as one of this type; raise TypeError if it is of another, which a check would have refused."""
        if not isinstance(feature, cls):
            raise TypeError(f"expected {cls.described}, found a {feature.type}")
        return feature

    @classmethod
    def among(cls, features: "Mapping[str, FeatureType]") -> dict[str, Self]:
        """Those of this type among some features."""
        return {name: feature for name, feature in features.items() if isinstance(feature, cls)}

    # In a source

    def read_from(self, name: str) -> tuple[str, ...]:
        """Columns of the source that the feature of this name is made of."""
        return (name,)

    @property
    def is_read_as_number(self) -> bool:
        """Whether a source may give numbers as such; it gives text otherwise."""
        return False

    @property
    def date_formats(self) -> tuple[str, ...]:
        """Format of the dates in its column, if it has dates."""
        return ()

    # Among examples

    @property
    def is_nullable(self) -> bool:
        """Whether a value may be missing in an example."""
        return False

    @property
    def is_encoded(self) -> bool:
        """Whether examples have the bytes of a file, which training decodes."""
        return False

    @property
    @abstractmethod
    def arrow_type(self) -> "pa.DataType":
        """Type of its column in the table of examples."""

    @property
    def bytes_per_row(self) -> int:
        """About how many bytes an example takes for it, by which rows are dealt out to files."""
        return 8

    def derived(self, found: "Mapping[str, pl.DataType]") -> "pl.Expr | None":  # noqa: ARG002 - most are a column
        """Its values of other columns, whose types are `found`; None for a feature that is a column of the source."""
        return None

    @abstractmethod
    def parsed(self, name: str, found: "pl.DataType") -> "pl.Expr":
        """Values in the type of examples; null where one is missing or can't be read."""

    @abstractmethod
    def rules(self, name: str, found: "Mapping[str, pl.DataType]") -> list[Rule]:
        """Ways in which a value can be wrong, of `pl.col(name)` as it was parsed and `raw(name)` as it was read."""

    def without_limits(self) -> Self:
        """The feature without what a model can live without: ranges, patterns and classes."""
        return self

    def deviations(self, values: "pl.Series") -> Iterator[Deviation]:  # noqa: ARG002 - most have none
        """What a model can live with in values to predict."""
        return iter(())

    # In statistics and transforms

    @abstractmethod
    def raw_values(self, column: "pl.Expr") -> "pl.Expr":
        """Values of examples as transforms take them: Float32, Array(Float32, size), or String, null for missing."""

    def is_missing(self, values: "pl.Expr") -> "pl.Expr":
        """Where `raw_values` are missing."""
        return values.is_null()

    @property
    def must_be_filled(self) -> bool:
        """Whether values may be missing that no model can take: a transform must fill them first."""
        return False

    @property
    def shape(self) -> Shape:
        """Shape of one example's values without any transform; of a text, that of its tokens."""
        return (1,)

    @property
    @abstractmethod
    def made_up(self) -> "pl.Series | None":
        """Two values that differ, to know shapes before there is data; None if no transform is fitted to them."""

    # In a model

    @property
    def input_shape(self) -> Shape:
        """Shape of one example's raw values as a saved model takes them."""
        return self.shape

    @property
    def is_single(self) -> bool:
        """Whether it is one value of a table's row."""
        return self.shape == (1,) and not self.is_input_of_its_own

    @property
    def values_per_row(self) -> int:
        """How many values one example has of it."""
        return math.prod(self.shape)

    @abstractmethod
    def model_input(self, values: "pl.Series") -> "np.ndarray":
        """Values of examples as a saved model takes them, of `input_dtype` and [rows, *input_shape]."""

    # In a report

    @abstractmethod
    def simple_values(self, train: "pl.Series", test: "pl.Series") -> tuple[Any, Any]:
        """Values [rows, columns] that a linear model takes, for training rows and others: dense, or sparse of words."""

    def tree_values(self, train: "pl.Series", test: "pl.Series") -> "tuple[np.ndarray, np.ndarray]":
        """Values float64[rows] that trees take of what `is_single`, for training rows and others; NaN for missing."""
        import polars as pl

        return train.cast(pl.Float64).to_numpy(), test.cast(pl.Float64).to_numpy()


def raw(name: str) -> "pl.Expr":
    """The column as it was read; pl.col(name) is the parsed one."""
    import polars as pl

    return pl.col(f"raw {name}")
