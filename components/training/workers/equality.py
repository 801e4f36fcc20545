"""What can't be trained by several workers as by one process, refused before it gives other results."""

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import (
    compiled_losses,
    flat_layers,
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
    """Raise TrainingError if a layer has to normalize by the whole batch, and can't."""
    for layer in flat_layers(model):
        if not (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable):
            continue
        if (layer.synchronized or num_workers > 1) and model.jit_compile:
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
