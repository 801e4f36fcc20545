"""What a transform is: its settings in params.yaml, and what it was fitted to, which a table and a Keras model apply.

Polars, Keras and TensorFlow are imported within functions, here and in each variant: Airflow reads the settings.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from headrace.components.schema.features import Feature
from headrace.components.schema.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from headrace.components.statistics.summary import Summary
    from headrace.components.transforms.column_statistics import ColumnStatistics

Values = str
"""A kind of values that a transform can take: at first, the type of the feature."""

Statistics = Literal["numbers", "sketch", "categories", "tokens", "elements"]
"""How the training values of a column are summarized; a sketch is a summary of numbers that finds medians, elements
are the numbers of each place of lists.
"""


@dataclass(frozen=True)
class TableColumn:
    """A feature within a table, between two of its transforms."""

    feature: Feature
    raw: "pl.Expr"  # Float32, Array(Float32, size) of an image, or String with null for missing
    values: "pl.Expr"


@dataclass(frozen=True)
class ModelColumn:
    """A feature within a Keras model, between two of its transforms."""

    feature: Feature
    values: Any  # float32[batch, ...], NaN for missing; string[batch, 1] until it is looked up, "" for missing
    missing: Any = None  # bool[batch, 1]; None where nothing needs it
    replacement: str | None = None  # of a missing category, at its look-up: Keras operations don't take strings
    backbone_weights: bytes = b""


class FittedTransform(Settings):
    """A transform that was fitted to training rows: all that it takes to apply it (statistics.json).

    The table form and the Keras form are the same operations in float32; they agree to 1e-6. The Keras form is of
    stock layers and operations: a model with custom objects would not load where Headrace is not installed.
    """

    kind: str

    @abstractmethod
    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Values after the transform, in one column."""

    def spread(self, values: "pl.Expr") -> list["pl.Expr"]:
        """Columns that the values of `table_form` become after the last transform."""
        return [values]

    def table_indicators(self, column: TableColumn) -> list["pl.Expr"]:  # noqa: ARG002 - most have none
        """Columns beside the values, Float32, which no other transform touches."""
        return []

    @abstractmethod
    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """The column after the transform."""

    def keras_indicators(self, column: ModelColumn) -> list[Any]:  # noqa: ARG002 - most have none
        """Columns beside the values, float32[batch, 1], made when all transforms were applied."""
        return []

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what comes out for one example; of a text, what goes in has the shape of its tokens."""
        return shape

    def summary_after(self, summary: "Summary | None") -> "Summary | None":  # noqa: ARG002 - few know it
        """Summary of what comes out, where that of what goes in is enough to know it exactly."""
        return None


class InvertibleTransform(FittedTransform):
    """A fitted transform that can be undone: by it, what a model makes comes out in the data's own unit."""

    @abstractmethod
    def inverse(self, values: Any) -> Any:
        """Tensor of values as they were before the transform."""


class Position(NamedTuple):
    """Where a transform stands: its feature, the transform before it, and the place in params.yaml for messages."""

    feature: Feature
    before: "Transform | None"
    place: str


class Transform(Settings):
    """A transform as params.yaml has it."""

    kind: str

    takes: ClassVar[tuple[Values, ...]]
    """Kinds of values that it can be applied to."""

    gives: ClassVar[str | None]
    """Kind of the values that come out; None if it is the kind that went in. Any other text is the name of values
    that no transform takes, in messages.
    """

    fitted: ClassVar[type[FittedTransform]]
    """What it becomes."""

    fills: ClassVar[bool] = False
    """Whether no value is missing after it. It must then be a feature's first transform."""

    shape_follows_from_data: ClassVar[bool] = False
    """Whether the shape of what comes out is known only once it is fitted."""

    takes_encoded: ClassVar[bool] = False
    """Whether it can be applied to images that are stored as JPEG or PNG, which training decodes."""

    def gives_after(self, present: str) -> str:
        """Kind of the values that come out, where `present` is that of those that go in."""
        return self.gives or present

    @property
    def statistics(self) -> Statistics | None:
        """What must be known of its column; None if nothing."""
        return None

    def check(self, at: Position) -> None:
        """Raise ParamsError, naming place and fix, for what `takes` can't say."""

    @abstractmethod
    def fit(self, column: "ColumnStatistics") -> FittedTransform:
        """The transform fitted to a column; raise DataError, naming it, if its values don't allow that."""
