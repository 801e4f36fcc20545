"""Losses by name: what may stand in `train.loss` instead of the loss that follows from the label.

Keras is imported within methods: Airflow reads the settings.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from headrace.components.schema.labels import CategoryLabel, Label, NumberLabel, NumbersLabel
from headrace.components.schema.settings import Settings

if TYPE_CHECKING:
    import keras


class Loss(Settings):
    """A mean over the examples of the global batch."""

    kind: str

    is_for: ClassVar[tuple[type[Settings], ...]] = (NumberLabel, NumbersLabel)
    """Kinds of labels."""

    unit_power: ClassVar[int | None] = 1
    """Which power of the label's unit the loss has; None for a loss of no single unit."""

    takes_smoothing: ClassVar[bool] = False
    """Whether it takes `train.label_smoothing`."""

    def check(self, label: Label, *, label_smoothing: float) -> None:
        """Raise ValueError, with place and remedy, where the loss does not fit the label."""
        if not isinstance(label, self.is_for):
            is_number = NumberLabel in self.is_for
            raise ValueError(
                f"train.loss: {self.kind} is for {'numbers' if is_number else 'categories'}, and ingest.label is a "
                f"{label.type}; leave it out"
            )
        if label_smoothing and not self.takes_smoothing:
            raise ValueError(f"train.label_smoothing: {self.kind} has none; leave one of them out")

    @abstractmethod
    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """The loss over numbers, or over logits."""


class MeanSquaredError(Loss):
    """The mean of squared errors, by which a model learns the mean; the default for numbers."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"

    unit_power = 2

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """keras.losses.MeanSquaredError."""
        import keras

        return keras.losses.MeanSquaredError()


class MeanAbsoluteError(Loss):
    """The mean of absolute errors, by which a model learns the median: outliers count less."""

    kind: Literal["mean_absolute_error"] = "mean_absolute_error"

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """keras.losses.MeanAbsoluteError."""
        import keras

        return keras.losses.MeanAbsoluteError()


class Huber(Loss):
    """Half of the squared error up to `delta`, then linear (Huber, 1964)."""

    kind: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 1.0
    """Largest error that counts squared, in the unit that the model is trained in: after `normalize.label`."""

    unit_power = None

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """keras.losses.Huber."""
        import keras

        return keras.losses.Huber(self.delta)


class LogCosh(Loss):
    """The logarithm of the hyperbolic cosine of the error: squared where it is small, absolute where it is large."""

    kind: Literal["log_cosh"] = "log_cosh"

    unit_power = None

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """keras.losses.LogCosh."""
        import keras

        return keras.losses.LogCosh()


class Quantile(Loss):
    """The pinball loss, by which a model learns a quantile (Koenker and Bassett, 1978).

    Metrics and report still measure the errors of what is predicted as if it were the label.
    """

    kind: Literal["quantile"] = "quantile"
    quantile: Annotated[float, Field(gt=0, lt=1)]
    """Share of the labels that are to be below the prediction; 0.5 is half the mean absolute error."""

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """The loss over numbers."""
        from headrace.components.tasks.keras_losses import PinballLoss

        return PinballLoss(self.quantile)


class CrossEntropy(Loss):
    """Cross-entropy of the classes; the default for a category."""

    kind: Literal["cross_entropy"] = "cross_entropy"

    is_for = (CategoryLabel,)
    unit_power = 0
    takes_smoothing = True

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """keras.losses.SparseCategoricalCrossentropy, or the same with smoothed labels."""
        import keras

        if label_smoothing:
            from headrace.components.tasks.smoothed_crossentropy import SmoothedCrossentropy

            return SmoothedCrossentropy(label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class BinaryCrossEntropy(Loss):
    """Cross-entropy of two classes, of the difference of their logits: the same as `cross_entropy` but for rounding."""

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"

    is_for = (CategoryLabel,)
    unit_power = 0
    takes_smoothing = True

    def check(self, label: Label, *, label_smoothing: float) -> None:
        """Refuse more classes than two."""
        super().check(label, label_smoothing=label_smoothing)
        if isinstance(label, CategoryLabel) and len(label.classes) != 2:
            raise ValueError(
                f"train.loss: binary_cross_entropy is for two classes, and the label has {len(label.classes)}; "
                "take cross_entropy"
            )

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """The loss over two logits."""
        from headrace.components.tasks.keras_losses import TwoClassCrossentropy

        return TwoClassCrossentropy(label_smoothing)


class Focal(Loss):
    """Cross-entropy that counts examples less the better they are predicted (Lin et al., 2017)."""

    kind: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    """An example's cross-entropy is multiplied by (1 - its label's probability) to this power; 0: cross-entropy."""

    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Weight of the second of two classes; the first has 1 - `alpha`. For more classes there is `class_weights`."""

    is_for = (CategoryLabel,)
    unit_power = 0

    def check(self, label: Label, *, label_smoothing: float) -> None:
        """Refuse alpha for more classes than two."""
        super().check(label, label_smoothing=label_smoothing)
        if self.alpha is not None and isinstance(label, CategoryLabel) and len(label.classes) != 2:
            raise ValueError("train.loss.alpha: it is for two classes; take train.class_weights")

    def keras_form(self, *, label_smoothing: float) -> "keras.losses.Loss":
        """The loss over logits."""
        from headrace.components.tasks.keras_losses import FocalLoss

        return FocalLoss(gamma=self.gamma, alpha=self.alpha)


AnyLoss = Annotated[
    MeanSquaredError | MeanAbsoluteError | Huber | LogCosh | Quantile | CrossEntropy | BinaryCrossEntropy | Focal,
    Field(discriminator="kind"),
]
