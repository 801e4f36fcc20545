"""One of several classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from headrace.components.models.output import Output
from headrace.components.nearest_name import nearest
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.tasks.metric_names import with_validation
from headrace.components.tasks.section_checks import refuse_images, refuse_label_transform, refuse_points
from headrace.components.tasks.task import ClassWeights, Measurement, Outcome, Sections

if TYPE_CHECKING:
    import keras
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from headrace.components.tasks.outcome_rows import RowMetrics
    from headrace.components.transforms.fitted_table import FittedTable

_METRICS = (
    *("loss", "accuracy", "precision", "recall", "f1"),
    *("balanced_accuracy", "mcc", "log_loss", "brier", "expected_calibration_error"),
)


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of logits while training, probabilities afterwards; the most probable class is predicted."""

    label: CategoryLabel

    epoch_metric_names = with_validation("loss", "accuracy")
    headline = ("accuracy", "f1", "roc_auc", "loss")
    error_metric = "loss"
    unit = ""
    label_dtype: ClassVar[Literal["int32"]] = "int32"
    report_template = "classification.html.jinja"
    generates = None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Those of two classes have the area under their ROC curve, too."""
        return (*_METRICS, *(("roc_auc",) if len(self.classes) == 2 else ()), "average_precision")

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of the outputs."""
        return self.label.classes

    @property
    def submission_columns(self) -> Mapping[str, str]:
        """The class under the label's name."""
        return {self.label.name: "prediction"}

    def check(self, sections: Sections) -> None:
        """Refuse weights of classes that there are not, and what is for numbers or images."""
        weights = sections.class_weights if isinstance(sections.class_weights, dict) else {}
        if unknown := sorted(set(weights) - set(self.classes)):
            raise ValueError(f"train.class_weights: no class {unknown[0]!r}{nearest(unknown[0], self.classes)}")
        refuse_points(sections)
        refuse_images(sections)
        refuse_label_transform(sections)

    def label_values(self, fitted: "FittedTable") -> "pl.Expr":
        """Int32: each class's place."""
        import polars as pl

        return class_indices(self.label.name, self.classes).cast(pl.Int32)

    def output(self, tokens: int | None) -> Output:
        """One logit for each class."""
        return Output(len(self.classes))

    def loss(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """Cross-entropy of logits."""
        import keras

        if label_smoothing:
            from headrace.components.tasks.smoothed_crossentropy import SmoothedCrossentropy

            return SmoothedCrossentropy(label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def epoch_metrics(self) -> "list[keras.metrics.Metric]":
        """Accuracy."""
        import keras

        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def example_weights(
        self, labels: "NDArray[np.int32]", *, class_weights: ClassWeights
    ) -> "NDArray[np.float32] | None":
        """Weights float32[examples] by the class of each; None where all are equal.

        "balanced" makes all classes that occur weigh the same, with a mean weight of 1. A class that a mapping leaves
        out has weight 1.
        """
        import numpy as np

        if class_weights is None:
            return None
        if class_weights == "balanced":
            by_class = balanced(np.bincount(labels, minlength=len(self.classes)))
        else:
            by_class = np.array([class_weights.get(name, 1.0) for name in self.classes])
        return by_class.astype(np.float32)[labels]

    def saved_model(
        self,
        core: "keras.Model",
        fitted: "FittedTable",
        *,
        inputs: "Mapping[str, Sequence[str]] | None" = None,
        backbone_weights: bytes | None = None,
    ) -> "keras.Model":
        """Raw rows to probabilities float32[batch, classes]."""
        from headrace.components.models.build import with_probabilities
        from headrace.components.serving_model.raw_model import raw_model

        return raw_model(with_probabilities(core), fitted, inputs=inputs, backbone_weights=backbone_weights)

    def output_shape(self, features: Mapping[str, Feature]) -> tuple[int, ...]:
        """A probability for each class."""
        return (len(self.classes),)

    def metrics(self, measurement: Measurement) -> dict[str, float]:
        """Cross-entropy, accuracy and averages over the classes."""
        from headrace.components.tasks.category_outcome import category_metrics
        from headrace.components.tasks.model_outputs import check_inputs, check_width

        check_inputs(measurement.model, measurement.features)
        check_width(measurement.model, len(self.classes), label=self.label.name)
        return category_metrics(*self._labels_and_probabilities(measurement))

    def outcome(self, measurement: Measurement) -> Outcome:
        """Confusions, curves, the balance of the classes, and the examples with the highest loss."""
        from headrace.components.plots import figures
        from headrace.components.tasks.category_outcome import MOST_MATRIX_CLASSES, category_outcome
        from headrace.components.tasks.outcome_rows import category_rows

        labels, probabilities = self._labels_and_probabilities(measurement)
        found = category_outcome(labels, probabilities, label=self.label, worst_examples=measurement.worst_examples)
        if measurement.class_counts and len(self.classes) <= MOST_MATRIX_CLASSES:
            found.figures["class_balance"] = figures.class_balance(measurement.class_counts, classes=self.classes)
        return replace(found, rows=category_rows(labels, probabilities, label=self.label))

    def outcome_rows(self, measurement: Measurement) -> "pl.DataFrame":
        """The true class, the predicted one, the loss and the probabilities."""
        from headrace.components.tasks.model_outputs import check_inputs, check_width
        from headrace.components.tasks.outcome_rows import category_rows

        check_inputs(measurement.model, measurement.features)
        check_width(measurement.model, len(self.classes), label=self.label.name)
        return category_rows(*self._labels_and_probabilities(measurement), label=self.label)

    def joined_outcomes(self, parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
        """The rows of all parts: each row's outcome is its own."""
        import polars as pl

        return pl.concat(parts)

    def scored(self, predictions: "pl.DataFrame", labels: "pl.DataFrame") -> "pl.DataFrame":
        """The same of probabilities that were predicted before."""
        from headrace.components.tasks.model_outputs import select_predictions
        from headrace.components.tasks.outcome_rows import category_rows

        names = [f"probability_{name}" for name in self.classes]
        places = labels.select(class_indices(self.label.name, self.classes)).to_series().to_numpy().astype("int64")
        return category_rows(places, select_predictions(predictions, names), label=self.label)

    def row_metrics(self, rows: "pl.DataFrame") -> "RowMetrics":
        """All metrics or, of very many classes, those that need no probabilities."""
        from headrace.components.tasks.outcome_rows import category_row_metrics

        return category_row_metrics(rows, label=self.label)

    def predictions(self, model: Any, examples: "pl.DataFrame", features: Mapping[str, Feature]) -> "pl.DataFrame":
        """The most probable class, and one column probability_<class> for each."""
        import numpy as np
        import polars as pl

        from headrace.components.tasks.model_outputs import finite_outputs

        outputs = finite_outputs(model, examples, features)
        chosen = np.array(self.classes, dtype=object)[outputs.argmax(axis=1)]
        probabilities = {f"probability_{name}": outputs[:, index] for index, name in enumerate(self.classes)}
        return pl.DataFrame({"prediction": pl.Series(chosen.tolist(), dtype=pl.String), **probabilities})

    def rows_together(self, model: Any, features: Mapping[str, Feature]) -> int:
        """As many as a batch of a table or of images has."""
        from headrace.components.serving_model.saved_model import rows_at_once

        return rows_at_once(model, features)

    def _labels_and_probabilities(self, measurement: Measurement) -> "tuple[np.ndarray, np.ndarray]":
        import polars as pl

        from headrace.components.serving_model.saved_model import predict

        outputs = predict(measurement.model, measurement.rows, features=measurement.inputs)
        indices = {name: index for index, name in enumerate(self.classes)}
        labels = measurement.rows[self.label.name].replace_strict(indices, return_dtype=pl.Int64).to_numpy()
        return labels, outputs


def class_indices(column: str, classes: tuple[str, ...]) -> "pl.Expr":
    """Each text's place in `classes`; another text is an error."""
    import polars as pl

    # Not replace_strict: Polars 2.1 doesn't stream it, and would hold the whole table.
    return pl.col(column).cast(pl.Enum(classes), strict=True).to_physical()


def balanced(counts: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """Weights float64[classes] by which all classes that occur weigh the same, with a mean of 1 over the examples.

    `counts`, int64[classes], are the examples of each.
    """
    import numpy as np

    weights: NDArray[np.float64] = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return weights
