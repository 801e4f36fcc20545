"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional networks", 2012."""

from collections.abc import Callable

import keras
from keras import ops

from headrace.components.models.normalization import local_response_normalization
from headrace.components.models.settings import AlexNet


def alexnet(
    settings: AlexNet, images: keras.KerasTensor, *, dropout: Callable[[float], keras.layers.Layer]
) -> keras.KerasTensor:
    """Return float32[batch, 4096], the second fully connected layer, from float32[batch, height, width, channels].

    With 227 x 227 x 3 and 1000 classes: 60,965,224 parameters in two towers (Caffe's bvlc_alexnet), 62,378,344 in one.
    The paper says 224 x 224, but its 55 x 55 places after conv1 need 227, or padding that it does not mention.

    In the paper each tower was on a GPU of its own and normalized its own channels; here, as in Caffe, normalization is
    over all. Initial weights are those of He et al. (2015), which suit ReLU; the paper's, all of one spread, suit the
    paper's width only.
    """
    towers = settings.towers
    tensor = _convolution(images, settings.scaled(96), 11, name="conv1", strides=4, padding="valid")
    tensor = _pooled(local_response_normalization(tensor, name="norm1"), name="pool1")
    tensor = _convolution(tensor, settings.scaled(256), 5, name="conv2", towers=towers)
    tensor = _pooled(local_response_normalization(tensor, name="norm2"), name="pool2")
    tensor = _convolution(tensor, settings.scaled(384), 3, name="conv3")  # sees both towers
    tensor = _convolution(tensor, settings.scaled(384), 3, name="conv4", towers=towers)
    tensor = _convolution(tensor, settings.scaled(256), 3, name="conv5", towers=towers)
    tensor = keras.layers.Flatten(name="flatten")(_pooled(tensor, name="pool5"))
    for name in ("fc6", "fc7"):
        tensor = keras.layers.Dense(settings.scaled(4096), "relu", kernel_initializer="he_normal", name=name)(tensor)
        tensor = dropout(settings.dropout)(tensor)
    return tensor


def _convolution(
    tensor: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    name: str,
    towers: int = 1,
    strides: int = 1,
    padding: str = "same",
) -> keras.KerasTensor:
    settings = {"strides": strides, "padding": padding, "activation": "relu", "kernel_initializer": "he_normal"}
    if towers == 1:
        return keras.layers.Conv2D(filters, kernel_size, name=name, **settings)(tensor)
    # Not Conv2D's groups: TensorFlow runs those on CPU by XLA only.
    convolved = [
        keras.layers.Conv2D(filters // towers, kernel_size, name=f"{name}_tower_{place}", **settings)(part)
        for place, part in enumerate(ops.split(tensor, towers, axis=-1), start=1)
    ]
    return keras.layers.Concatenate(name=name)(convolved)


def _pooled(tensor: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """The maximum of overlapping windows (section 3.4)."""
    return keras.layers.MaxPooling2D(3, strides=2, name=name)(tensor)
