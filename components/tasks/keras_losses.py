"""Losses by name that Keras lacks in the form that a model of logits needs."""

from typing import Any

import keras
from keras import ops

_SMALLEST = 1e-7  # of 1 - p: a power of 0 has no finite gradient


class PinballLoss(keras.losses.Loss):
    """Mean of `quantile` times what a prediction is too low by, and of 1 - `quantile` times what it is too high by."""

    def __init__(self, quantile: float) -> None:
        super().__init__(name="quantile")
        self._quantile = quantile

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return float32[batch] from float32[batch] or [batch, numbers], and float32[batch, numbers]."""
        too_low = ops.reshape(y_true, ops.shape(y_pred)) - y_pred
        return ops.mean(ops.maximum(self._quantile * too_low, (self._quantile - 1) * too_low), axis=-1)


class TwoClassCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of the difference of two logits."""

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(name="binary_crossentropy")
        self._label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return float32[batch] from int32[batch] and float32[batch, 2]."""
        labels = ops.cast(ops.reshape(y_true, [-1, 1]), y_pred.dtype)
        difference = y_pred[:, 1:] - y_pred[:, :1]
        return keras.losses.binary_crossentropy(
            labels, difference, from_logits=True, label_smoothing=self._label_smoothing
        )


class FocalLoss(keras.losses.Loss):
    """Cross-entropy of logits with class indices, times (1 - p) ** gamma (Lin et al., 2017, equation 5)."""

    def __init__(self, *, gamma: float, alpha: float | None) -> None:
        super().__init__(name="focal")
        self._gamma, self._alpha = gamma, alpha

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return float32[batch] from int32[batch] and float32[batch, classes]."""
        labels = ops.reshape(y_true, [-1])
        losses = keras.losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        if self._gamma:
            losses = losses * ops.power(ops.maximum(-ops.expm1(-losses), _SMALLEST), self._gamma)
        if self._alpha is not None:
            losses = losses * ops.where(ops.equal(labels, 1), self._alpha, 1 - self._alpha)
        return losses
