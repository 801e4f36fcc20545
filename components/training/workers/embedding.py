"""Lookups in tables of embeddings that read the rows of the batch alone.

Keras reads the whole table first. TensorFlow copies it then, at every step, once rows of it have been updated alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import flat_layers
from headrace.components.training.workers.attribute_override import Override


def lookup_overrides(model: keras.Model) -> list[Override]:
    """Overrides that make the model's `keras.layers.Embedding` look up rows without reading the table."""
    layers = [layer for layer in flat_layers(model) if type(layer).call is keras.layers.Embedding.call]
    return [(layer, "call", partial(_rows, layer, layer.call)) for layer in layers]


def _rows(layer: keras.layers.Embedding, plain_call: Callable[[Any], Any], ids: Any) -> Any:
    if not (isinstance(ids, tf.Tensor) and isinstance(layer.embeddings, keras.Variable)):
        return plain_call(ids)
    ids = ids if ids.dtype in (tf.int32, tf.int64) else tf.cast(ids, tf.int32)
    ids = tf.where(ids < 0, ids + tf.cast(layer.input_dim, ids.dtype), ids)  # as Keras does
    return tf.cast(tf.gather(layer.embeddings.value, ids), layer.compute_dtype)
