"""Losses of outputs with a mask: Keras divides by the count of unmasked positions, here those of the global batch.

Keras does so in `compute_loss`, and in any loss object that a `train_step` calls itself, of which those are found that
the model has as attributes.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import losses_of_outputs, mask_of, owned_losses
from headrace.components.errors import TrainingError
from headrace.components.training.workers.attribute_override import Override, overridden
from headrace.components.training.workers.exchange import sum_with_gradient
from headrace.components.training.workers.step import Step


def masked_loss_overrides(model: keras.Model, step: Step) -> list[Override]:
    """What weights each worker's loss by its unmasked positions; one worker's is Keras's own.

    Raises TrainingError, as it is traced, where XLA compiles the step, which can't exchange their counts then.
    """
    if step.exchange.num_workers == 1:
        return []
    plain_compute_loss = model.compute_loss

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        weighted = _weighted(model, y_pred, step)
        with overridden((step, "weights_masks", True), *weighted):
            return plain_compute_loss(x, y, y_pred, *args, **kwargs)

    called = [(loss, "call", _weighted_where_called(loss, model, step)) for loss in owned_losses(model)]
    return [(model, "compute_loss", compute_loss), *called]


def _weighted_where_called(loss: keras.losses.Loss, model: keras.Model, step: Step) -> Callable[[Any, Any], Any]:
    """The loss as a train_step calls it; within `compute_loss` it is weighted already."""
    plain_call = loss.call

    def call(y_true: Any, y_pred: Any) -> Any:
        if step.weights_masks or mask_of(y_pred) is None:
            return plain_call(y_true, y_pred)
        _require_no_xla(model)
        return _times(plain_call, _weight(mask_of(y_pred), step))(y_true, y_pred)

    return call


def _weighted(model: keras.Model, outputs: Any, step: Step) -> list[Override]:
    """The losses of outputs with a mask, each position's multiplied by the same weight."""
    if not any(mask_of(output) is not None for output in tf.nest.flatten(outputs)):
        return []
    _require_no_xla(model)
    masked = [
        (loss, mask) for loss, output in losses_of_outputs(model, outputs) if (mask := mask_of(output)) is not None
    ]
    if len({id(loss) for loss, _ in masked}) < len(masked):
        raise TrainingError("two outputs with a mask have one loss, expected a loss object for each of them")
    return [(loss, "call", _times(loss.call, _weight(mask, step))) for loss, mask in masked]


def _require_no_xla(model: keras.Model) -> None:
    if model.jit_compile:
        raise TrainingError(
            "an output of the model has a mask, whose counts are exchanged within the passes, which XLA can't "
            "compile; compile the model with jit_compile=False"
        )


def _weight(mask: tf.Tensor, step: Step) -> tf.Tensor:
    """How much this worker's share of unmasked positions is more than its share of examples, float32[]."""
    own = tf.reduce_sum(tf.cast(mask, tf.float32))
    total = sum_with_gradient(tf.stop_gradient(own), exchange=step.exchange)
    return tf.math.divide_no_nan(own, total) / step.place.share()


def _times(plain_call: Callable[[Any, Any], Any], weight: tf.Tensor) -> Callable[[Any, Any], Any]:
    def call(y_true: Any, y_pred: Any) -> Any:
        losses = plain_call(y_true, y_pred)
        return losses * tf.cast(weight, losses.dtype)

    return call
