"""What a backbone sees in images, as a column of a table: computed once, before anything is trained on it."""

from functools import lru_cache
from threading import Lock

import numpy as np
import polars as pl
import tensorflow as tf

from components.examples.settings import ImageFeature
from components.models.backbones import backbone_model
from components.sources.decoding import pixels_of
from components.transforms.fitted import FittedBackbone, FittedTable

_IMAGES = 32  # at once: what a network makes of one takes many times its memory
_lock = Lock()


def with_features(examples: pl.DataFrame, fitted: FittedTable, *, weights: bytes) -> pl.DataFrame:
    """Return the examples with Array(Float32, width) where there were images; the others' columns are untouched."""
    for name, of in fitted.features.items():
        if of.backbone and isinstance(of.feature, ImageFeature):
            column = _column(examples[name], of.feature, of.backbone, weights)
            examples = examples.with_columns(column)
    return examples


def _column(images: pl.Series, feature: ImageFeature, backbone: FittedBackbone, weights: bytes) -> pl.Series:
    with _lock:  # threads would each build one
        network = _network(backbone, feature, weights)
    features = np.empty((len(images), backbone.width), np.float32)
    for start in range(0, len(images), _IMAGES):
        pixels = pixels_of(images[start : start + _IMAGES], feature).to_numpy().reshape(-1, *feature.shape)
        features[start : start + _IMAGES] = network(tf.constant(pixels, tf.float32))
    return pl.Series(images.name, features, dtype=pl.Array(pl.Float32, backbone.width))


@lru_cache(maxsize=1)
def _network(backbone: FittedBackbone, feature: ImageFeature, weights: bytes) -> tf.types.experimental.GenericFunction:
    """The network as a graph, which takes a third less time than layer by layer."""
    model = backbone_model(backbone, feature, weights=weights)
    signature = [tf.TensorSpec((None, *feature.shape), tf.float32)]
    return tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
