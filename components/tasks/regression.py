"""Regression: one number, or several numbers of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from headrace.components.models.output import Output
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import NumberLabel, NumbersLabel
from headrace.components.tasks.metric_names import metric_prefixes, with_validation
from headrace.components.tasks.section_checks import refuse_class_weights, refuse_images, refuse_points
from headrace.components.tasks.task import ClassWeights, Measurement, Outcome, Sections

if TYPE_CHECKING:
    import keras
    import numpy as np
    import polars as pl
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from headrace.components.tasks.outcome_rows import RowMetrics
    from headrace.components.transforms.fitted_table import FittedTable

_METRICS = ("loss", "root_mean_squared_error", "mean_absolute_error", "r2")
_LINE_POINTS = 400


class _Regression:
    """What one number and several have in common: squared errors, of labels that may be transformed."""

    label: NumberLabel | NumbersLabel

    epoch_metric_names = with_validation("loss", "root_mean_squared_error", "mean_absolute_error")
    headline = ("root_mean_squared_error", "mean_absolute_error", "r2", "loss")
    classes = ()
    label_dtype: ClassVar[Literal["float32"]] = "float32"
    report_template = "regression.html.jinja"
    generates = None

    def loss(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """Mean squared error."""
        import keras

        return keras.losses.MeanSquaredError()

    def epoch_metrics(self) -> "list[keras.metrics.Metric]":
        """Errors in the unit of the labels that a model is trained on."""
        import keras

        return [
            keras.metrics.RootMeanSquaredError(name="root_mean_squared_error"),
            keras.metrics.MeanAbsoluteError(name="mean_absolute_error"),
        ]

    def example_weights(
        self,
        labels: "NDArray[np.int32]",
        *,
        class_weights: ClassWeights,
    ) -> "NDArray[np.float32] | None":
        """None: numbers have no classes."""
        return None

    def output(self, tokens: int | None) -> Output:
        """A value for each number."""
        return Output(len(self.label.columns))

    def output_shape(self, features: Mapping[str, Feature]) -> tuple[int, ...]:
        """A value for each number."""
        return (len(self.label.columns),)

    def rows_together(self, model: Any, features: Mapping[str, Feature]) -> int:
        """As many as a batch of a table or of images has."""
        from headrace.components.serving_model.saved_model import rows_at_once

        return rows_at_once(model, features)

    def _check_model(self, measurement: Measurement) -> None:
        from headrace.components.tasks.model_outputs import check_inputs, check_width

        check_inputs(measurement.model, measurement.features)
        check_width(measurement.model, len(self.label.columns), label=self.label.name)


@dataclass(frozen=True)
class OneNumber(_Regression):
    """A number: squared errors while training, predictions in the label's own unit."""

    label: NumberLabel

    metric_names = _METRICS
    error_metric = "root_mean_squared_error"

    @property
    def unit(self) -> str:
        """Unit of the label."""
        return self.label.unit

    @property
    def submission_columns(self) -> Mapping[str, str]:
        """The number under the label's name."""
        return {self.label.name: "prediction"}

    def check(self, sections: Sections) -> None:
        """Refuse what is for classes or images."""
        refuse_class_weights(sections)
        refuse_images(sections)

    def label_values(self, fitted: "FittedTable") -> "pl.Expr":
        """Float32, transformed where `normalize.label` says so."""
        import polars as pl

        values, transform = pl.col(self.label.name).cast(pl.Float32), fitted.label_transform
        return values if transform is None else transform.scaled(values)

    def saved_model(
        self,
        core: "keras.Model",
        fitted: "FittedTable",
        *,
        inputs: "Mapping[str, Sequence[str]] | None" = None,
        backbone_weights: bytes | None = None,
    ) -> "keras.Model":
        """Raw rows to float32[batch, 1] in the label's own unit."""
        from headrace.components.serving_model.raw_model import raw_model

        def in_label_unit(outputs: Any) -> Any:
            transform = fitted.label_transform
            return outputs if transform is None else transform.inverse(outputs)

        return raw_model(core, fitted, inputs=inputs, in_label_unit=in_label_unit, backbone_weights=backbone_weights)

    def metrics(self, measurement: Measurement) -> dict[str, float]:
        """Errors in the label's own unit, and R2."""
        from headrace.components.tasks.number_outcome import number_metrics

        self._check_model(measurement)
        return number_metrics(*self._labels_and_predictions(measurement))

    def outcome(self, measurement: Measurement) -> Outcome:
        """Predictions against labels, residuals, the line of a model of one number, and the largest errors."""
        from headrace.components.tasks.number_outcome import number_outcome
        from headrace.components.tasks.outcome_rows import number_rows

        labels, predictions = self._labels_and_predictions(measurement)
        found = number_outcome(labels, predictions, label=self.label, worst_examples=measurement.worst_examples)
        found.figures.update(self._data_and_fit(measurement))
        return replace(found, rows=number_rows(labels, predictions))

    def outcome_rows(self, measurement: Measurement) -> "pl.DataFrame":
        """The number, its prediction and the squared error."""
        from headrace.components.tasks.outcome_rows import number_rows

        self._check_model(measurement)
        return number_rows(*self._labels_and_predictions(measurement))

    def joined_outcomes(self, parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
        """The rows of all parts: each row's outcome is its own."""
        import polars as pl

        return pl.concat(parts)

    def scored(self, predictions: "pl.DataFrame", labels: "pl.DataFrame") -> "pl.DataFrame":
        """The same of numbers that were predicted before."""
        from headrace.components.tasks.model_outputs import select_predictions
        from headrace.components.tasks.outcome_rows import number_rows

        return number_rows(labels[self.label.name].to_numpy(), select_predictions(predictions, ["prediction"])[:, 0])

    def row_metrics(self, rows: "pl.DataFrame") -> "RowMetrics":
        """All metrics."""
        from headrace.components.tasks.outcome_rows import number_row_metrics

        return number_row_metrics(rows)

    def predictions(self, model: Any, examples: "pl.DataFrame", features: Mapping[str, Feature]) -> "pl.DataFrame":
        """The number."""
        import polars as pl

        from headrace.components.tasks.model_outputs import finite_outputs

        return pl.DataFrame({"prediction": finite_outputs(model, examples, features)[:, 0]})

    def _labels_and_predictions(self, measurement: Measurement) -> "tuple[np.ndarray, np.ndarray]":
        import numpy as np

        from headrace.components.serving_model.saved_model import predict

        outputs = predict(measurement.model, measurement.rows, features=measurement.inputs)
        return measurement.rows[self.label.name].to_numpy(), outputs[:, 0].astype(np.float64)

    def _data_and_fit(self, measurement: Measurement) -> "dict[str, Figure]":
        """The data and the model's line, where one number is made of one number."""
        import numpy as np
        import polars as pl

        from headrace.components.examples.splits import SPLITS
        from headrace.components.plots import figures
        from headrace.components.serving_model.saved_model import predict

        [name, *others] = measurement.inputs
        feature = measurement.features[name]
        if others or not feature.is_number:
            return {}
        examples = measurement.examples.select("example_id", name, self.label.name).drop_nulls().collect()
        data = {}
        for split in SPLITS.categories:
            ids = measurement.rows_of_split(split).select("example_id").collect().to_series()
            rows = examples.filter(pl.col("example_id").is_in(ids.implode()))
            if rows.height:
                data[split] = (rows[name].to_numpy(), rows[self.label.name].to_numpy())
        values = examples[name].to_numpy()
        line = np.linspace(values.min(), values.max(), _LINE_POINTS)
        outputs = predict(measurement.model, pl.DataFrame({name: line}), features={name: feature})[:, 0]
        shown = figures.with_unit(self.label.name, self.unit)
        return {"data_and_fit": figures.data_and_fit(data, (line, outputs), feature=name, label=shown)}


@dataclass(frozen=True)
class SeveralNumbers(_Regression):
    """Several numbers, each transformed, so that none outweighs another; predictions in their own units."""

    label: NumbersLabel

    error_metric = "loss"
    unit = ""  # each has its own

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics of all together, and of each, such as "Weight.r2"."""
        return (*_METRICS, *(f"{name}.{metric}" for name in metric_prefixes(self.label) for metric in _METRICS))

    @property
    def submission_columns(self) -> Mapping[str, str]:
        """Each number under its own name."""
        return {name: f"prediction_{name}" for name in self.label.targets}

    def check(self, sections: Sections) -> None:
        """Require a transform of the labels, and refuse what is for classes, images or one number."""
        refuse_class_weights(sections)
        refuse_points(sections)
        refuse_images(sections)
        if sections.label_transform is None:
            raise ValueError("normalize.label: several numbers need one, or the largest counts most")

    def label_values(self, fitted: "FittedTable") -> "pl.Expr":
        """Array(Float32, numbers), each transformed."""
        import polars as pl

        columns = zip(self.label.targets, fitted.label_transforms, strict=True)
        return pl.concat_arr([one.scaled(pl.col(name).cast(pl.Float32)) for name, one in columns])

    def saved_model(
        self,
        core: "keras.Model",
        fitted: "FittedTable",
        *,
        inputs: "Mapping[str, Sequence[str]] | None" = None,
        backbone_weights: bytes | None = None,
    ) -> "keras.Model":
        """Raw rows to float32[batch, numbers], each in its own unit."""
        import keras

        from headrace.components.serving_model.raw_model import raw_model

        def in_their_units(outputs: Any) -> Any:
            scales, shifts = zip(*((one.scale, one.shift) for one in fitted.label_transforms), strict=True)
            return keras.layers.Rescaling(list(scales), list(shifts))(outputs)

        return raw_model(core, fitted, inputs=inputs, in_label_unit=in_their_units, backbone_weights=backbone_weights)

    def metrics(self, measurement: Measurement) -> dict[str, float]:
        """Metrics of all together, and of each in its own unit."""
        from headrace.components.tasks.number_outcome import numbers_metrics

        self._check_model(measurement)
        labels, predictions = self._labels_and_predictions(measurement)
        return numbers_metrics(labels, predictions, label=self.label)

    def outcome(self, measurement: Measurement) -> Outcome:
        """Figures of each number, and the examples with the largest error in standard deviations."""
        from headrace.components.tasks.number_outcome import numbers_outcome
        from headrace.components.tasks.outcome_rows import numbers_rows

        labels, predictions = self._labels_and_predictions(measurement)
        found = numbers_outcome(labels, predictions, label=self.label, worst_examples=measurement.worst_examples)
        return replace(found, rows=numbers_rows(labels, predictions, label=self.label))

    def outcome_rows(self, measurement: Measurement) -> "pl.DataFrame":
        """Each number, its prediction, and the loss of all."""
        from headrace.components.tasks.outcome_rows import numbers_rows

        self._check_model(measurement)
        return numbers_rows(*self._labels_and_predictions(measurement), label=self.label)

    def joined_outcomes(self, parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
        """The rows of all parts, with the loss of each: errors are in standard deviations among all rows."""
        import polars as pl

        from headrace.components.tasks.outcome_rows import numbers_rows

        rows = pl.concat(parts)
        targets, predictions = ([f"{kind}_{name}" for name in self.label.targets] for kind in ("target", "prediction"))
        # In the order in memory that both have where all rows are predicted at once: sums are the same to the bit.
        return numbers_rows(
            rows.select(targets).to_numpy(), rows.select(predictions).to_numpy(order="c"), label=self.label
        )

    def scored(self, predictions: "pl.DataFrame", labels: "pl.DataFrame") -> "pl.DataFrame":
        """The same of numbers that were predicted before."""
        from headrace.components.tasks.model_outputs import select_predictions
        from headrace.components.tasks.outcome_rows import numbers_rows

        targets = labels.select(list(self.label.targets)).to_numpy()
        predicted = select_predictions(predictions, list(self.submission_columns.values()))
        return numbers_rows(targets, predicted, label=self.label)

    def row_metrics(self, rows: "pl.DataFrame") -> "RowMetrics":
        """Metrics of all numbers together, and of each."""
        from headrace.components.tasks.outcome_rows import numbers_row_metrics

        return numbers_row_metrics(rows, label=self.label)

    def predictions(self, model: Any, examples: "pl.DataFrame", features: Mapping[str, Feature]) -> "pl.DataFrame":
        """One column prediction_<name> for each number."""
        import polars as pl

        from headrace.components.tasks.model_outputs import finite_outputs

        outputs = finite_outputs(model, examples, features)
        columns = enumerate(self.submission_columns.values())
        return pl.DataFrame({name: outputs[:, place] for place, name in columns})

    def _labels_and_predictions(self, measurement: Measurement) -> "tuple[np.ndarray, np.ndarray]":
        import numpy as np

        from headrace.components.serving_model.saved_model import predict

        outputs = predict(measurement.model, measurement.rows, features=measurement.inputs)
        return measurement.rows.select(list(self.label.targets)).to_numpy(), outputs.astype(np.float64)
