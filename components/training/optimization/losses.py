"""What a training minimizes, what it measures, and how much each example counts."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from headrace.components.examples.settings import CategoryLabel, GeneratedLabel, Label, NextTokenLabel
from headrace.components.transforms.vocabulary import PADDING


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


class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with the ids of next tokens, a mean over all places; padding counts as 0.

    Over all places, because a worker's gradients are weighted by its examples: a mean over the tokens alone would
    depend on which worker has the shorter texts.
    """

    def __init__(self) -> None:
        super().__init__(name="token_crossentropy")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return float32[batch, length] in nats from int32[batch, length] and float32[batch, length, tokens]."""
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        return losses * _is_token(y_true)


class TokenAccuracy(keras.metrics.Mean):
    """The share of tokens that were predicted; padding is none."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # noqa: ARG002
        """Count int32[batch, length] against float32[batch, length, tokens]."""
        super().update_state(keras.metrics.sparse_categorical_accuracy(y_true, y_pred), _is_token(y_true))


class Perplexity(keras.metrics.Mean):
    """e to the power of the mean cross-entropy of all tokens, in nats; padding is none."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # noqa: ARG002
        """Count int32[batch, length] against float32[batch, length, tokens]."""
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        super().update_state(losses, _is_token(y_true))

    def result(self) -> Any:
        """Return the perplexity so far."""
        return keras.ops.exp(super().result())


def _is_token(ids: Any) -> Any:
    return keras.ops.cast(keras.ops.not_equal(ids, PADDING), "float32")


def build_loss(label: Label, *, label_smoothing: float = 0.0) -> keras.losses.Loss | None:
    """Return the loss for a label: mean squared error for a number, cross-entropy of logits for all others.

    None where images are generated: the networks that learn it have losses of their own.
    """
    if isinstance(label, GeneratedLabel):
        return None
    if isinstance(label, NextTokenLabel):
        return TokenCrossentropy()
    if not isinstance(label, CategoryLabel):
        return keras.losses.MeanSquaredError()
    if label_smoothing:
        return SmoothedCrossentropy(label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build_metrics(label: Label) -> list[keras.metrics.Metric]:
    """Return new metrics for a label."""
    if isinstance(label, GeneratedLabel):
        return []
    if isinstance(label, CategoryLabel):
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    if isinstance(label, NextTokenLabel):
        return [TokenAccuracy(name="accuracy"), Perplexity(name="perplexity")]
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
