"""Moments of the global batch for BatchNormalization: one exchange forward and one backward for each layer.

Keras has three forward and two backward, each of its own round trip, which can cost more than the layers themselves. It
also gives a layer with a mask each worker's own moments, and takes the variance as a difference of two large numbers.
"""

from functools import partial

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import MOMENTS, flat_layers, reduction_axes
from headrace.components.training.workers.attribute_override import Override
from headrace.components.training.workers.exchange import Exchange, sum_with_gradient


def moments_overrides(model: keras.Model, exchange: Exchange) -> list[Override]:
    """Overrides that make layers take their moments from here: on one worker those that are synchronized, else all."""
    layers = [layer for layer in flat_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    wanted = [layer for layer in layers if layer.synchronized or exchange.num_workers > 1]
    return [(layer, MOMENTS, partial(_moments, layer, exchange)) for layer in wanted]


def _moments(
    layer: keras.layers.BatchNormalization, exchange: Exchange, inputs: tf.Tensor, mask: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance of the global batch, float[channels], from this worker's part of it, where `mask` is True.

    Sums are taken around the moving mean, which all workers share and which is near to the mean after a few steps: what
    is left of the variance by the subtraction is then exact. The moments do not depend on it, nor do the gradients.
    """
    axes = reduction_axes(layer)
    shift = tf.stop_gradient(tf.cast(layer.moving_mean, inputs.dtype))
    shape = [1 if axis in axes else -1 for axis in range(len(inputs.shape))]
    centred = inputs - tf.reshape(shift, shape)
    count = tf.reduce_sum(tf.ones_like(centred), axis=axes)
    if mask is not None:
        kept = tf.broadcast_to(tf.cast(mask, tf.bool)[..., tf.newaxis], tf.shape(inputs))
        centred = tf.where(kept, centred, 0)
        count = tf.reduce_sum(tf.cast(kept, inputs.dtype), axis=axes)
    sums = tf.stack([tf.reduce_sum(centred, axis=axes), tf.reduce_sum(tf.square(centred), axis=axes), count])
    total, squares, examples = tf.unstack(sum_with_gradient(sums, exchange=exchange), num=3)
    mean = tf.math.divide_no_nan(total, examples)
    variance = tf.maximum(tf.math.divide_no_nan(squares, examples) - tf.square(mean), 0)
    return mean + shift, variance
