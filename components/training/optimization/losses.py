"""What a training minimizes, what it measures, and how much each example counts."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from components.examples.settings import CategoryLabel, Label


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with class indices, with `label_smoothing` of each label spread over all classes.

    Szegedy et al., 2016. Keras has label smoothing for one-hot labels only.
    """

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(name="smoothed_crossentropy")
        self._label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return float32[batch] from int32[batch] and float32[batch, classes]."""
        one_hot = keras.ops.one_hot(keras.ops.reshape(y_true, [-1]), y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            one_hot, y_pred, from_logits=True, label_smoothing=self._label_smoothing
        )


def build_loss(label: Label, *, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Return the loss for a label: cross-entropy of logits for a category, mean squared error for a number."""
    if not isinstance(label, CategoryLabel):
        return keras.losses.MeanSquaredError()
    if label_smoothing:
        return SmoothedCrossentropy(label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build_metrics(label: Label) -> list[keras.metrics.Metric]:
    """Return new metrics for a label."""
    if isinstance(label, CategoryLabel):
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    return [
        keras.metrics.RootMeanSquaredError(name="root_mean_squared_error"),
        keras.metrics.MeanAbsoluteError(name="mean_absolute_error"),
    ]


def example_weights(
    labels: NDArray[np.int32], *, label: Label, class_weights: Literal["balanced"] | Mapping[str, float] | None
) -> NDArray[np.float32] | None:
    """Return float32[examples], how much each example counts in the loss, from its class; None where all are equal.

    `labels` is int32[examples], class indices. "balanced" makes all classes that occur weigh the same, with a mean
    weight of 1. A class that a mapping leaves out has weight 1.
    """
    if class_weights is None or not isinstance(label, CategoryLabel):
        return None
    if class_weights == "balanced":
        counts = np.bincount(labels, minlength=len(label.classes))
        by_class = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        by_class = np.array([class_weights.get(name, 1.0) for name in label.classes])
    return by_class.astype(np.float32)[labels]
