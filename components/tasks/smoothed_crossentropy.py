"""Cross-entropy with labels that are spread over all classes."""

from typing import Any

import keras


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
