"""Python: a transform of the project's own, a class that is fitted and applied.

What it computes is traced once, into a Keras network of stock operations. The table and the saved model both apply that
network, so there is one implementation, and neither needs the class again.
"""

import inspect
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from headrace.components.errors import ParamsError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.named_code import FunctionName, PythonFile
from headrace.components.own_code.signature import checked_arguments
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.transform import FittedTransform, ModelColumn, Statistics, TableColumn, Transform

if TYPE_CHECKING:
    import keras
    import polars as pl

    from headrace.components.statistics.summary import NumberSummary


@dataclass(frozen=True)
class TrainingColumn:
    """What a transform of one's own is fitted to: a column of numbers, in the training rows alone.

    Extremes, `mean`, `standard_deviation` of the population and `median` are those of what the transforms before give.
    """

    name: str
    count: int
    minimum: float
    maximum: float
    mean: float
    standard_deviation: float
    median: float
    summary: "NumberSummary"

    @classmethod
    def of(cls, column: ColumnStatistics) -> "TrainingColumn":
        """Raises DataError where no training example has a value."""
        numbers = column.numbers
        return cls(
            name=column.name,
            count=numbers.present,
            minimum=column.known(numbers.minimum),
            maximum=column.known(numbers.maximum),
            mean=column.known(numbers.mean),
            standard_deviation=column.known(numbers.standard_deviation),
            median=column.known(column.median),
            summary=numbers,
        )

    def quantile(self, fraction: float) -> float:
        """About the value below which `fraction` of the training values lie, 0 to 1."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"expected a fraction from 0 to 1, found {fraction}")
        value = self.summary.quantile(fraction)
        return self.median if value is None else value


class FittedPython(FittedTransform):
    """A network of stock Keras operations, float32[batch, 1] to float32[batch, columns], as Keras writes it."""

    kind: Literal["python"] = "python"
    place: str
    columns: Annotated[int, Field(ge=1)]
    network: dict[str, JsonValue]

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """The column after the transform; several are made by `spread`."""
        return column.values if self.columns > 1 else self._applied(column.values)

    def spread(self, values: "pl.Expr") -> list["pl.Expr"]:
        """Several columns in one, Array(Float32, columns)."""
        return [self._applied(values)] if self.columns > 1 else [values]

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """float32[batch, columns]."""
        from headrace.components.transforms.own_network import read_network

        return replace(column, values=read_network(self.network)(column.values))

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """As many columns, in place of one."""
        return (shape[0] + self.columns - 1,)

    def _applied(self, values: "pl.Expr") -> "pl.Expr":
        import polars as pl

        written = json.dumps(self.network)
        dtype = pl.Float32() if self.columns == 1 else pl.Array(pl.Float32, self.columns)

        def block(series: pl.Series) -> pl.Series:
            from headrace.components.transforms.own_network import apply_to_table

            after = apply_to_table(written, series.to_numpy(), place=self.place)
            return pl.Series(series.name, after[:, 0] if self.columns == 1 else after, dtype=dtype)

        return values.map_batches(block, return_dtype=dtype, is_elementwise=True)


class Python(Transform):
    """A class of the project's own, which fits to the training rows and is traced once, for the table and the model."""

    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["python"] = "python"
    file: PythonFile
    """Path of the Python file inside the project."""

    class_: Annotated[FunctionName, Field(alias="class")]
    """Name of the class in the file. Its `fit(column)`, where it has one, takes what is known of the training rows; its
    `transform(values)` is made of operations of `keras.ops`.
    """

    arguments: dict[FunctionName, Any] = Field(default={})
    """Arguments of the class, checked against its annotations."""

    columns: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Number of columns that it makes of one. Other transforms may follow it if it is 1."""

    takes = ("number",)
    gives = "number"
    fitted = FittedPython

    def gives_after(self, present: str) -> str:
        """Numbers, or several columns that no transform takes."""
        return super().gives_after(present) if self.columns == 1 else "columns of a python transform"

    @property
    def statistics(self) -> Statistics:
        """Numbers, and where their quantiles are."""
        return "sketch"

    @property
    def place(self) -> str:
        """The file and the class, for messages."""
        return f"{self.file}: {self.class_}"

    def fit(self, column: ColumnStatistics) -> FittedPython:
        """Make an object of the class, let it fit, trace it, and see that it treats each row alone.

        Raises ParamsError, with file and line, for what the class raises or does not have, and for a `transform` that
        gives other shapes or looks at other rows. Raises DataError for values that are not finite.
        """
        from headrace.components.transforms.own_network import require_one_row_each, written_network

        known = TrainingColumn.of(column)
        with column.code.importable():
            made = self._made(column.code)
            if fit := getattr(made, "fit", None):
                with column.code.errors_named():
                    fit(known)
            network = self._traced(made, column.code)
        require_one_row_each(network, _probes(known), place=self.place)
        return FittedPython(place=self.place, columns=self.columns, network=written_network(network, place=self.place))

    def _made(self, code: OwnCode) -> Any:
        found = code.function(self.file, self.class_)
        arguments = checked_arguments(found, self.arguments, given=0, place=self.place)
        with code.errors_named():
            made = found(**arguments)
        for name in ("fit", "transform"):
            if inspect.iscoroutinefunction(getattr(made, name, None)):
                raise ParamsError(f"{self.place}: {name} is an async method; expected one without async")
        if not callable(getattr(made, "transform", None)):
            raise ParamsError(f"{self.place} has no method `transform(values)`, which makes the column")
        return made

    def _traced(self, made: Any, code: OwnCode) -> "keras.Model":
        from headrace.components.transforms.own_network import traced

        try:
            with code.errors_named():
                return traced(made.transform, columns=self.columns, place=self.place)
        except ParamsError as error:
            if "KerasTensor" not in str(error):
                raise
            raise ParamsError(f"{error} Make `transform` of operations of keras.ops alone") from error


def _probes(known: TrainingColumn) -> list[float]:
    """Some values among those of training: the extremes, the middle, and what lies between."""
    between = [known.quantile(fraction) for fraction in (0.05, 0.25, 0.75, 0.95)]
    return [known.minimum, known.maximum, known.mean, known.median, *between]
