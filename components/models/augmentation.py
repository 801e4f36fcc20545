"""Layers that change images, or choose among copies of them, while training."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from headrace.components.transforms.augment import Augment
from headrace.components.transforms.augmented_images import DRAWS, augmented

Draw = Callable[[tf.Tensor], tf.Tensor]


class Augmentation(keras.layers.Layer):
    """Changes each image by its own draws in training; outside of it gives images as they are.

    `draw` takes a shape, int[2], and gives float32 in [0, 1): for this worker's images at this step. It computes in
    float32 at any precision, because half precision can't distinguish the pixels of a large image.
    """

    def __init__(self, settings: Augment, draw: Draw) -> None:
        super().__init__(name="augmentation", dtype="float32")
        self._settings, self._draw = settings, draw

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return float32[batch, height, width, channels] from the same."""
        if not training:
            return inputs
        drawn = self._draw(tf.stack([tf.shape(inputs)[0], DRAWS]))
        # In Keras's symbolic pass the shape of what is drawn is not known, and that of the output would not be either.
        return tf.ensure_shape(augmented(inputs, drawn, self._settings), inputs.shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the images, which stays."""
        return input_shape


class ChosenCopy(keras.layers.Layer):
    """Of several copies of each example, one by its own draw in training; outside of it the first one.

    `draw` is as that of `Augmentation`.
    """

    def __init__(self, draw: Draw) -> None:
        super().__init__(name="chosen_copy")
        self._draw = draw

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return float32[batch, width] from float32[batch, copies, width]."""
        if not training:
            return inputs[:, 0]
        copies = inputs.shape[1]
        drawn = self._draw(tf.stack([tf.shape(inputs)[0], 1]))
        chosen = tf.gather(inputs, tf.cast(drawn[:, 0] * copies, tf.int32), axis=1, batch_dims=1)
        return tf.ensure_shape(chosen, (None, inputs.shape[2]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of one copy."""
        return (input_shape[0], input_shape[2])
