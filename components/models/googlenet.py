"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", 2015."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from headrace.components.models.normalization import local_response_normalization
from headrace.components.models.settings import GoogLeNet


class Filters(NamedTuple):
    """How many filters each part of an Inception module has; reductions are 1 x 1 convolutions before a larger one."""

    one: int
    three_reduction: int
    three: int
    five_reduction: int
    five: int
    pool_projection: int


# Table 1 of the paper.
MODULES = {
    "3a": Filters(64, 96, 128, 16, 32, 32),
    "3b": Filters(128, 128, 192, 32, 96, 64),
    "4a": Filters(192, 96, 208, 16, 48, 64),
    "4b": Filters(160, 112, 224, 24, 64, 64),
    "4c": Filters(128, 128, 256, 24, 64, 64),
    "4d": Filters(112, 144, 288, 32, 64, 64),
    "4e": Filters(256, 160, 320, 32, 128, 128),
    "5a": Filters(256, 160, 320, 32, 128, 128),
    "5b": Filters(384, 192, 384, 48, 128, 128),
}
POOLED_AFTER = ("3b", "4e")
HEADS_AFTER = ("4a", "4d")
HEAD_DROPOUT = 0.7


def googlenet(
    settings: GoogLeNet, images: keras.KerasTensor, *, dropout: Callable[[float], keras.layers.Layer]
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Return float32[batch, 1024], the last module's means, and the same, float32[batch, 1024], of each auxiliary head.

    From float32[batch, height, width, channels]. With the paper's 224 x 224 x 3 and 1000 classes: 6,998,552 parameters
    without heads, 13,378,280 with both (Caffe's bvlc_googlenet). Where the heads are and what they are made of is in
    the paper's text; table 1 leaves them out. The paper has no numbers for its normalization: they are AlexNet's.
    Initial weights are those of He et al. (2015); from Keras's own (Glorot) it learns several times more slowly.

    `reduction: false` makes the paper's naive modules (figure 2a): all of the input continues through pooling, so each
    module is wider than the one before. The mean over all places makes any size of image possible, as in the paper.
    """
    tensor = _convolution(images, settings.scaled(64), 7, strides=2, name="conv1_7x7_s2")
    tensor = local_response_normalization(_pooled(tensor, name="pool1_3x3_s2"), name="pool1_norm1")
    tensor = _convolution(tensor, settings.scaled(64), 1, name="conv2_3x3_reduce")
    tensor = _convolution(tensor, settings.scaled(192), 3, name="conv2_3x3")
    tensor = _pooled(local_response_normalization(tensor, name="conv2_norm2"), name="pool2_3x3_s2")
    heads: list[keras.KerasTensor] = []
    for name, filters in MODULES.items():
        tensor = _inception(tensor, Filters(*map(settings.scaled, filters)), settings, name=f"inception_{name}")
        if name in POOLED_AFTER:
            tensor = _pooled(tensor, name=f"pool{name[0]}_3x3_s2")
        if settings.auxiliary_heads and name in HEADS_AFTER:
            heads.append(_head(tensor, settings, dropout, name=f"auxiliary_{len(heads) + 1}"))
    tensor = keras.layers.GlobalAveragePooling2D(name="pool5_7x7_s1")(tensor)
    return dropout(settings.dropout)(tensor), heads


def _inception(tensor: keras.KerasTensor, filters: Filters, settings: GoogLeNet, *, name: str) -> keras.KerasTensor:
    three = five = tensor
    pooled = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(tensor)
    if settings.reduction:
        three = _convolution(tensor, filters.three_reduction, 1, name=f"{name}_3x3_reduce")
        five = _convolution(tensor, filters.five_reduction, 1, name=f"{name}_5x5_reduce")
        pooled = _convolution(pooled, filters.pool_projection, 1, name=f"{name}_pool_proj")
    one = _convolution(tensor, filters.one, 1, name=f"{name}_1x1")
    three = _convolution(three, filters.three, 3, name=f"{name}_3x3")
    five = _convolution(five, filters.five, 5, name=f"{name}_5x5")
    return keras.layers.Concatenate(name=f"{name}_output")([one, three, five, pooled])


def _head(
    tensor: keras.KerasTensor, settings: GoogLeNet, dropout: Callable[[float], keras.layers.Layer], *, name: str
) -> keras.KerasTensor:
    tensor = keras.layers.AveragePooling2D(5, strides=3, name=f"{name}_pool")(tensor)
    tensor = _convolution(tensor, settings.scaled(128), 1, name=f"{name}_conv")
    tensor = keras.layers.Flatten(name=f"{name}_flatten")(tensor)
    units = settings.scaled(1024)
    tensor = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=f"{name}_fc")(tensor)
    return dropout(HEAD_DROPOUT)(tensor)


def _convolution(
    tensor: keras.KerasTensor, filters: int, kernel_size: int, *, name: str, strides: int = 1
) -> keras.KerasTensor:
    layer = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )
    return layer(tensor)


def _pooled(tensor: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    return keras.layers.MaxPooling2D(3, strides=2, padding="same", name=name)(tensor)
