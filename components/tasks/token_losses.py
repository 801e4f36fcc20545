"""Loss and metrics of next tokens, in which padding counts for nothing."""

from typing import Any

import keras

from headrace.components.transforms.vocabulary import PADDING


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

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count int32[batch, length] against float32[batch, length, tokens]."""
        super().update_state(keras.metrics.sparse_categorical_accuracy(y_true, y_pred), _is_token(y_true))


class Perplexity(keras.metrics.Mean):
    """e to the power of the mean cross-entropy of all tokens, in nats; padding is none."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count int32[batch, length] against float32[batch, length, tokens]."""
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        super().update_state(losses, _is_token(y_true))

    def result(self) -> Any:
        """Return the perplexity so far."""
        return keras.ops.exp(super().result())


def _is_token(ids: Any) -> Any:
    return keras.ops.cast(keras.ops.not_equal(ids, PADDING), "float32")
