"""What is learned: all that follows from the kind of label, behind one protocol.

Parsing params.yaml imports the tasks, so that neither this module nor theirs load NumPy, Polars, Keras or matplotlib.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from headrace.components.models.output import Output
from headrace.components.models.settings import AnyModel
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.features import Feature
from headrace.components.schema.split_settings import Split
from headrace.components.tasks.judge_settings import JudgeSettings
from headrace.components.transforms.transform import Transform

if TYPE_CHECKING:
    import keras
    import numpy as np
    import polars as pl
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from headrace.components.tasks.outcome_rows import RowMetrics
    from headrace.components.transforms.fitted_table import FittedTable

ClassWeights = Literal["balanced"] | Mapping[str, float] | None


@dataclass(frozen=True)
class Sections:
    """What a task checks of a pipeline's sections in params.yaml, before any work."""

    schema: ExampleSchema
    transforms: Mapping[str, Sequence[Transform]]
    label_transform: Transform | None
    split: Split
    model: AnyModel
    best_by: str
    class_weights: ClassWeights
    label_smoothing: float
    judge: JudgeSettings | None
    points: Collection[str]
    is_predicted_on_schedule: bool


@dataclass(frozen=True)
class Measurement:
    """A saved model, the rows that it is measured on, and what else a task shows beside its predictions.

    `rows` are as ingested, as are all `examples`; `rows_of_split` gives a split, with its ids. `class_counts` are
    examples by class, by split; `samples` are a generator's images, uint8[images, height, width, channels], by epoch.
    """

    model: Any
    rows: "pl.DataFrame"
    features: Mapping[str, Feature]
    examples: "pl.LazyFrame"
    rows_of_split: "Callable[[str], pl.LazyFrame]"
    split: Split
    judge: JudgeSettings | None
    worst_examples: int = 0
    class_counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    samples: "Mapping[int, NDArray[np.uint8]]" = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Feature]:
        """The features that the model takes."""
        return {name: self.features[name] for name in self.model.input}


@dataclass(frozen=True)
class Mistake:
    """One example that the model got wrong, or least right; `row` is its place, `detail` a probability or an error."""

    row: int
    true: str
    predicted: str
    detail: str
    wrong: bool = True


@dataclass(frozen=True)
class ClassScore:
    """How well one class is distinguished from the others; `support` is how many examples have it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Outcome:
    """What a model made of the rows it is measured on; `matrix`, `confusions` and `scores` only for a category.

    `rows` has what was predicted of each of them; None where the model predicts nothing. `worst_are` and `detail_is`
    are the report's words for the worst examples and for the detail of each.
    """

    metrics: dict[str, float]
    figures: "dict[str, Figure]"
    worst: list[Mistake]
    matrix: "np.ndarray | None" = None
    confusions: Sequence[tuple[str, str, int]] = ()
    scores: Sequence[ClassScore] = ()
    rows: "pl.DataFrame | None" = None
    worst_are: str = "Those with the largest error."
    detail_is: str = "error"


class Task(Protocol):
    """One kind of label: what training, evaluation, prediction and the report need to know of it.

    The names of metrics say their direction: `metric_names.lower_is_better`.
    """

    # Names: of metrics, columns and files.

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics of the rows that a model is measured on: the gate and `register.thresholds` choose among them."""

    @property
    def epoch_metric_names(self) -> tuple[str, ...]:
        """Metrics of an epoch of training: `train.best_by` is one of them, or "last"."""

    @property
    def headline(self) -> tuple[str, ...]:
        """Metrics in the order in which the report's first lines take the first four that there are."""

    @property
    def error_metric(self) -> str:
        """Metric of the error by which docs/results.md compares values of a setting."""

    @property
    def unit(self) -> str:
        """Unit of the metrics whose names end with `_error`; "" for none."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that are predicted, in the order of the model's outputs; none for other tasks."""

    @property
    def label_dtype(self) -> Literal["int32", "float32"]:
        """Type of the labels that a model is trained on."""

    @property
    def report_template(self) -> str:
        """File of this folder: the part of the report on the rows that the model is measured on."""

    @property
    def generates(self) -> Literal["text", "images"] | None:
        """What `headrace generate` makes with a model, whose only input is then its label; None: it only predicts."""

    @property
    def submission_columns(self) -> Mapping[str, str]:
        """Columns of a competition's submission, and those of `predictions` that fill them."""

    def check(self, sections: Sections) -> None:
        """Raise ValueError, with place and remedy, for sections of params.yaml that do not fit the label."""

    # Training.

    def label_values(self, fitted: "FittedTable") -> "pl.Expr":
        """Labels of raw rows as a model is trained on them: Int32 or Float32, or arrays of them."""

    def output(self, tokens: int | None) -> Output:
        """Output of the model that is trained; `tokens` counts the ids of a text."""

    def loss(self, *, label_smoothing: float) -> "keras.losses.Loss | None":
        """Loss over logits or numbers; None for networks that have losses of their own."""

    def epoch_metrics(self) -> "list[keras.metrics.Metric]":
        """New metrics for a training, which make `epoch_metric_names` together with the loss."""

    def example_weights(
        self, labels: "NDArray[np.int32]", *, class_weights: ClassWeights
    ) -> "NDArray[np.float32] | None":
        """How much each example counts in the loss, float32[examples]; None where all count alike."""

    def saved_model(
        self,
        core: "keras.Model",
        fitted: "FittedTable",
        *,
        inputs: "Mapping[str, Sequence[str]] | None" = None,
        backbone_weights: bytes | None = None,
    ) -> "keras.Model":
        """The model to save, from raw rows to probabilities, numbers in their own units, or pixels; shares weights.

        `core` takes all features side by side or, with `inputs`, a dict of those that each input is made of.
        """

    # Evaluation and prediction.

    def output_shape(self, features: Mapping[str, Feature]) -> tuple[int, ...]:
        """Shape of what a saved model gives for one example, -1 where it depends on the training rows."""

    def metrics(self, measurement: Measurement) -> dict[str, float]:
        """The metrics alone, of a model that may come from other data.

        Raises DataError where it takes what the rows do not have, or gives something else.
        """

    def outcome(self, measurement: Measurement) -> Outcome:
        """Metrics, figures and worst examples; raises TrainingError for predictions that are not finite."""

    def outcome_rows(self, measurement: Measurement) -> "pl.DataFrame | None":
        """What the model makes of each row: what was true, what was predicted, the `loss`; None where there is none.

        Raises DataError where it takes what the rows do not have, or gives something else.
        """

    def joined_outcomes(self, parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
        """`outcome_rows` of all rows, of those of some rows at a time."""

    def scored(self, predictions: "pl.DataFrame", labels: "pl.DataFrame") -> "pl.DataFrame":
        """`outcome_rows` of columns of `predictions` and, in the same order, of the label as it is ingested.

        Raises DataError where predictions have no such columns.
        """

    def row_metrics(self, rows: "pl.DataFrame") -> "RowMetrics":
        """The metrics of `outcome_rows`, or of some of them, each made when it is called."""

    def predictions(self, model: Any, examples: "pl.DataFrame", features: Mapping[str, Feature]) -> "pl.DataFrame":
        """Columns of `headrace predict`, one row for each of the examples; raises DataError if one is not finite."""

    def rows_together(self, model: Any, features: Mapping[str, Feature]) -> int:
        """How many rows a model is called with at once: predictions of such groups have the bits of all rows'."""
