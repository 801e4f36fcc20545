"""What can't be trained by several workers as by one process, refused before it gives other results."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import (
    compiled_losses,
    flat_layers,
    has_mask,
)
from headrace.components.errors import TrainingError


def require_one_device() -> None:
    """Raise TrainingError if this worker has more than one GPU."""
    devices = len(tf.config.get_visible_devices("GPU"))
    if devices > 1:
        raise TrainingError(
            f"this worker sees {devices} GPUs, expected one; start one worker for each GPU, which sees that one only"
        )


def require_synchronized_layers(model: keras.Model, *, num_workers: int) -> None:
    """Raise TrainingError if a layer would normalize by each worker's own part of a batch, or can't by the whole."""
    for layer in flat_layers(model):
        if not (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable):
            continue
        if not layer.synchronized and num_workers > 1:
            raise TrainingError(
                f"layer {layer.path} is a BatchNormalization of each worker's own examples, expected one of the whole "
                "batch; make it with synchronized=True"
            )
        if layer.synchronized and model.jit_compile:
            raise TrainingError(
                f"layer {layer.path} exchanges statistics within the passes, which XLA can't compile; compile the "
                "model with jit_compile=False"
            )


def require_mean_losses(model: keras.Model, *, num_workers: int) -> None:
    """Raise TrainingError if, on several workers, a loss of the built model is anything but a mean over the batch.

    Gradients are weighted by each worker's count of examples, which is right for means alone.
    """
    if num_workers == 1:
        return
    for reduction in (loss.reduction for loss in compiled_losses(model)):
        if reduction not in ("sum_over_batch_size", "mean"):
            raise TrainingError(
                f'a loss has reduction="{reduction}", expected "sum_over_batch_size" on several workers; for a sum, '
                "raise the learning rate or loss_weights instead; for weights, scale them to a mean of 1"
            )


def unmasked(model: keras.Model, *, num_workers: int) -> Callable[..., Any]:
    """Return the model's `compute_loss`, which on several workers raises TrainingError for outputs with a mask.

    Keras divides by the count of unmasked positions: each worker by its own part's.
    """
    plain_compute_loss = model.compute_loss

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        masked = any(map(has_mask, tf.nest.flatten(y_pred)))
        if masked and num_workers > 1:
            raise TrainingError(
                "an output of the model has a mask, expected none on several workers; give the mask as sample weights "
                "in the dataset, with an output that has no mask"
            )
        return plain_compute_loss(x, y, y_pred, *args, **kwargs)

    return compute_loss
