"""Losses of outputs with a mask: Keras divides by the count of unmasked positions, here those of the global batch."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import losses_of_outputs, mask_of
from headrace.components.errors import TrainingError
from headrace.components.training.workers.attribute_override import Override, overridden
from headrace.components.training.workers.exchange import sum_with_gradient
from headrace.components.training.workers.step import Step


def masked_loss_overrides(model: keras.Model, step: Step) -> list[Override]:
    """What makes `compute_loss` weight each worker's loss by its unmasked positions; one worker's is Keras's own.

    Raises TrainingError, as it is traced, where XLA compiles the step, which can't exchange their counts then.
    """
    if step.exchange.num_workers == 1:
        return []
    plain_compute_loss = model.compute_loss

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not any(mask_of(output) is not None for output in tf.nest.flatten(y_pred)):
            return plain_compute_loss(x, y, y_pred, *args, **kwargs)
        if model.jit_compile:
            raise TrainingError(
                "an output of the model has a mask, whose counts are exchanged within the passes, which XLA can't "
                "compile; compile the model with jit_compile=False"
            )
        with overridden(*_weighted(model, y_pred, step)):
            return plain_compute_loss(x, y, y_pred, *args, **kwargs)

    return [(model, "compute_loss", compute_loss)]


def _weighted(model: keras.Model, outputs: Any, step: Step) -> list[Override]:
    """The losses of outputs with a mask, each position's multiplied by the same weight."""
    masked = [
        (loss, mask) for loss, output in losses_of_outputs(model, outputs) if (mask := mask_of(output)) is not None
    ]
    if len({id(loss) for loss, _ in masked}) < len(masked):
        raise TrainingError("two outputs with a mask have one loss, expected a loss object for each of them")
    return [(loss, "call", _times(loss.call, _weight(mask, step))) for loss, mask in masked]


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
