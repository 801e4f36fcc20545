"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998."""

import keras
from keras import ops

from headrace.components.models.settings import LeNet

# Which maps of S2 each map of C3 sees: the paper's table I.
C3_CONNECTIONS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


def lenet(settings: LeNet, images: keras.KerasTensor) -> keras.KerasTensor:
    """Return float32[batch, 84], F6, from float32[batch, height, width, channels]; the paper's input is 32 x 32 x 1.

    Up to F6 the paper's network has 60,000 parameters. Its output, distances to fixed drawings of the characters, is
    replaced by the label's output layer (850 parameters for ten classes). `variant: modern` is what is commonly called
    LeNet-5 today, with 61,706 for ten classes: C3 sees all maps, pooling has no weights, ReLU instead of tanh.
    """
    padded = keras.layers.ZeroPadding2D(settings.padding, name="padding")(images) if settings.padding else images
    features = _modern(padded) if settings.variant == "modern" else _paper(padded)
    # On larger images C5 has more than one place, as the paper says; F6 then sees all of them.
    flat = keras.layers.Flatten(name="flatten")(features)
    if settings.variant == "modern":
        return keras.layers.Dense(84, "relu", name="f6")(flat)
    return _squashed(keras.layers.Dense(84, name="f6")(flat))


def _modern(images: keras.KerasTensor) -> keras.KerasTensor:
    tensor = keras.layers.Conv2D(6, 5, activation="relu", name="c1")(images)
    tensor = keras.layers.MaxPooling2D(2, name="s2")(tensor)
    tensor = keras.layers.Conv2D(16, 5, activation="relu", name="c3")(tensor)
    tensor = keras.layers.MaxPooling2D(2, name="s4")(tensor)
    return keras.layers.Conv2D(120, 5, activation="relu", name="c5")(tensor)


def _paper(images: keras.KerasTensor) -> keras.KerasTensor:
    tensor = _squashed(keras.layers.Conv2D(6, 5, name="c1")(images))
    tensor = _subsampled(tensor, name="s2")
    maps = [
        keras.layers.Conv2D(1, 5, name=f"c3_map_{place}")(ops.take(tensor, seen, axis=-1))
        for place, seen in enumerate(C3_CONNECTIONS)
    ]
    tensor = _subsampled(_squashed(keras.layers.Concatenate(name="c3")(maps)), name="s4")
    return _squashed(keras.layers.Conv2D(120, 5, name="c5")(tensor))


def _subsampled(tensor: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """The mean of each 2 x 2 window, times a weight, plus a bias, both trained, one of each for a map."""
    means = keras.layers.AveragePooling2D(2, name=f"{name}_mean")(tensor)
    return _squashed(keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=name)(means))


def _squashed(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return 1.7159 * ops.tanh(tensor * (2 / 3))  # the paper's appendix A: f(1) = 1, f(-1) = -1
