"""Images like those that are given: nothing is predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from headrace.components.errors import DataError
from headrace.components.models.output import Output
from headrace.components.models.settings import Gan, Model
from headrace.components.nearest_name import nearest
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import GeneratedLabel
from headrace.components.tasks.classification import class_indices
from headrace.components.tasks.metric_names import LAST
from headrace.components.tasks.section_checks import refuse_class_weights, refuse_label_transform, refuse_points
from headrace.components.tasks.task import ClassWeights, Measurement, Outcome, Sections
from headrace.components.transforms.scale_pixels import ScalePixels

if TYPE_CHECKING:
    import keras
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from headrace.components.tasks.judge import Judge
    from headrace.components.tasks.outcome_rows import RowMetrics
    from headrace.components.transforms.fitted_table import FittedTable


@dataclass(frozen=True)
class Generation:
    """Two rival networks while training, a generator afterwards; a judge of real images rates what it makes."""

    label: GeneratedLabel

    metric_names = ("named", "classes_named", "mean_confidence", "judge_accuracy")
    # Losses of two rival networks do not show how good a model is, and nothing is validated on.
    epoch_metric_names = ("loss", "generator_loss", "discriminator_loss")
    headline = metric_names
    error_metric = "loss"
    unit = ""
    classes = ()
    label_dtype: ClassVar[Literal["int32"]] = "int32"
    report_template = "generation.html.jinja"
    generates: ClassVar[Literal["images"]] = "images"
    submission_columns: ClassVar[Mapping[str, str]] = {}

    def check(self, sections: Sections) -> None:
        """Require a GAN over the one image, scaled to 0 to 1, a judge, and no validation."""
        if sections.class_weights is not None:  # label_smoothing is the discriminator's
            refuse_class_weights(sections)
        refuse_points(sections)
        if not isinstance(sections.model, Model) or not isinstance(sections.model.architecture, Gan):
            raise ValueError("train.model: the label generated needs an architecture of kind gan")
        name, transforms = self.label.name, sections.transforms
        if list(transforms) != [name] or [type(step) for step in transforms[name]] != [ScalePixels]:
            raise ValueError(
                f"normalize.transforms: expected {name}: [{{kind: scale_pixels}}] alone, because images are made of "
                f"values from 0 to 1; found {', '.join(transforms)}"
            )
        if "validation" in sections.split.names_held_out:
            raise ValueError(
                "split.held_out: validation computes no metric of generated images; set it to test or none"
            )
        if sections.best_by != LAST:
            raise ValueError(
                f"train.best_by: no metric rates generated images; expected {LAST}, found {sections.best_by}"
            )
        _check_judge(sections)
        if sections.is_predicted_on_schedule:
            raise ValueError("schedule.predict: a model that generates images predicts nothing; leave it out")
        refuse_label_transform(sections)

    def label_values(self, fitted: "FittedTable") -> "pl.Expr":
        """Int32: the place of the class that both networks are conditioned on, or 0."""
        import polars as pl

        if self.label.by is None or self.label.classes is None:
            return pl.lit(0, pl.Int32)  # of no meaning: a batch has features and labels
        return class_indices(self.label.by, self.label.classes).cast(pl.Int32)

    def output(self, tokens: int | None) -> Output:
        """Images, of as many classes as the label has."""
        return Output(len(self.label.classes or ()))

    def loss(self, *, label_smoothing: float) -> None:
        """None: the networks have losses of their own."""

    def epoch_metrics(self) -> "list[keras.metrics.Metric]":
        """None: the networks have losses of their own."""
        return []

    def example_weights(
        self,
        labels: "NDArray[np.int32]",
        *,
        class_weights: ClassWeights,
    ) -> "NDArray[np.float32] | None":
        """None: all images count alike."""
        return None

    def saved_model(
        self,
        core: "keras.Model",
        fitted: "FittedTable",
        *,
        inputs: Mapping[str, Sequence[str]] | None = None,
        backbone_weights: bytes | None = None,
    ) -> "keras.Model":
        """Noise to pixels float32[batch, height, width, channel], from 0 to the image's maximum."""
        from headrace.components.serving_model.raw_model import raw_generator

        return raw_generator(core, fitted.features[self.label.name])

    def output_shape(self, features: Mapping[str, Feature]) -> tuple[int, ...]:
        """Height, width and channels of an image."""
        return features[self.label.name].shape

    def metrics(self, measurement: Measurement) -> dict[str, float]:
        """What a judge, measured on the rows, says of images made of noise."""
        from headrace.components.tasks.judge import judged_metrics, judgement

        self._check_model(measurement)
        judge = self._judge(measurement)
        return judged_metrics(judgement(measurement.model, judge), judge, measurement.rows)

    def outcome(self, measurement: Measurement) -> Outcome:
        """A sheet of samples, their classes, and what the same noise gave epoch by epoch."""
        from headrace.components.tasks.judged_images import development, generated_outcome

        found = generated_outcome(measurement.model, self._judge(measurement), measurement.rows)
        found.figures.update(development(measurement.samples))
        return found

    def outcome_rows(self, measurement: Measurement) -> "pl.DataFrame | None":
        """None: images are made of noise, and of no row."""
        return None

    def joined_outcomes(self, parts: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
        """Raise TypeError: images of noise are no outcomes of rows."""
        raise TypeError("a model that generates images has no outcomes of rows")

    def scored(self, predictions: "pl.DataFrame", labels: "pl.DataFrame") -> "pl.DataFrame":
        """Raise TypeError: the command refuses it before."""
        raise TypeError("a model that generates images predicts nothing")

    def row_metrics(self, rows: "pl.DataFrame") -> "RowMetrics":
        """None."""
        return {}

    def predictions(self, model: Any, examples: "pl.DataFrame", features: Mapping[str, Feature]) -> "pl.DataFrame":
        """Raise TypeError: the command refuses it before a model is loaded."""
        raise TypeError("a model that generates images predicts nothing")

    def rows_together(self, model: Any, features: Mapping[str, Feature]) -> int:
        """Raise TypeError: the command refuses it before a model is loaded."""
        raise TypeError("a model that generates images predicts nothing")

    def _check_model(self, measurement: Measurement) -> None:
        from headrace.components.serving_model.generate_images import require_generator

        require_generator(measurement.model)
        made, image = tuple(measurement.model.output.shape[1:]), measurement.features[self.label.name]
        if made != image.shape:
            raise DataError(f"it makes images of shape {made}, and those here have {image.shape}")

    def _judge(self, measurement: Measurement) -> "Judge":
        from headrace.components.tasks.judge import train_judge

        return train_judge(
            measurement.examples,
            measurement.rows_of_split("train"),
            split=measurement.split,
            features=measurement.features,
            image=self.label.name,
            settings=measurement.judge,
        )


def _check_judge(sections: Sections) -> None:
    categories = CategoryFeature.among(sections.schema.features)
    judge = sections.judge
    if judge is None:
        raise ValueError(
            f"evaluate.judge: generated images need one, such as {{by: {next(iter(categories), 'CLASS')}}}"
        )
    feature = categories.get(judge.by)
    if feature is None or not feature.classes or len(feature.classes) < 2 or feature.nullable:
        raise ValueError(
            f"evaluate.judge.by: expected a category of ingest.features with two classes or more, never missing; "
            f"found {judge.by!r}{nearest(judge.by, categories)}"
        )
