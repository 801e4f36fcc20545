"""What a backbone sees in images, as a column of a table: computed once, before anything is trained on it."""

from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.examples.splits import assign_split
from headrace.components.mixing import Words, mix
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.split_settings import Split
from headrace.components.transforms.augment import Augment
from headrace.components.transforms.augmented_images import DRAWS, augmented
from headrace.components.transforms.backbone import FittedBackbone
from headrace.components.transforms.backbone_network import backbone_model
from headrace.components.transforms.fitted_table import FittedTable

Network = Callable[[tf.Tensor], tf.Tensor]

_IMAGES = 32  # at once: what a network makes of one takes many times its memory
_lock = Lock()


class _Seer(NamedTuple):
    """A network over images, float32[images, height, width, channels] of raw pixels."""

    feature: ImageFeature
    backbone: FittedBackbone
    network: Network


def with_features(examples: pl.DataFrame, fitted: FittedTable, *, split: Split, weights: bytes) -> pl.DataFrame:
    """Return the examples with Array(Float32, copies * width) where there were images; other columns are untouched.

    The first copy is the image itself. The augmented ones are drawn by example, whatever the others are; those of
    held-out examples, which nobody takes, are 0.
    """
    is_training = examples.select(assign_split(split, columns=examples.columns) == "train").to_series().to_numpy()
    for name, of in fitted.features.items():
        if of.backbone:
            image = ImageFeature.require(of.feature)
            with _lock:  # threads would each build one
                seer = _Seer(image, of.backbone, _network(of.backbone, image, weights))
            column = _column(examples[name], examples["example_id"].to_numpy(), seer, is_training=is_training)
            examples = examples.with_columns(column)
    return examples


def _column(images: pl.Series, ids: Words, seer: _Seer, *, is_training: NDArray[np.bool_]) -> pl.Series:
    width, augment = seer.backbone.width, seer.backbone.augment
    features = np.zeros((len(images), (1 + seer.backbone.augmented_copies) * width), np.float32)
    for start in range(0, len(images), _IMAGES):
        rows = slice(start, start + _IMAGES)
        pixels = tf.constant(seer.feature.model_input(images[rows]))
        features[rows, :width] = seer.network(pixels)
        if augment and is_training[rows].any():
            chosen = start + np.flatnonzero(is_training[rows])
            own = tf.boolean_mask(pixels, is_training[rows])
            features[chosen, width:] = _augmented_copies(own, ids[chosen], seer, augment)
    return pl.Series(images.name, features, dtype=pl.Array(pl.Float32, features.shape[1]))


def _augmented_copies(pixels: tf.Tensor, ids: Words, seer: _Seer, augment: Augment) -> NDArray[np.float32]:
    """float32[images, augmented_copies * width]."""
    maximum, copies = float(seer.feature.maximum), []
    for copy in range(seer.backbone.augmented_copies):
        draws = [mix(ids, copy * DRAWS + number) >> np.uint64(40) for number in range(DRAWS)]
        drawn = tf.constant(np.stack(draws, axis=1) / 2.0**24, tf.float32)
        changed = augmented(pixels / maximum, drawn, augment) * maximum
        copies.append(np.asarray(seer.network(tf.clip_by_value(changed, 0, maximum))))
    return np.concatenate(copies, axis=1)


@lru_cache(maxsize=1)
def _network(backbone: FittedBackbone, feature: ImageFeature, weights: bytes) -> Network:
    """The network as a graph, which takes a third less time than layer by layer."""
    model = backbone_model(backbone, feature, weights=weights)
    signature = [tf.TensorSpec((None, *feature.shape), tf.float32)]
    network: Network = tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
    return network
