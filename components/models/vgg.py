"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015."""

from collections.abc import Callable

import keras

from headrace.components.models.normalization import local_response_normalization
from headrace.components.models.settings import Vgg

# Table 1 of the paper: the windows of each block's convolutions.
CONFIGURATIONS = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
FILTERS = (64, 128, 256, 512, 512)


def vgg(
    settings: Vgg, images: keras.KerasTensor, *, dropout: Callable[[float], keras.layers.Layer]
) -> keras.KerasTensor:
    """Return float32[batch, 4096], the second fully connected layer, from float32[batch, height, width, channels].

    With the paper's 224 x 224 x 3 and 1000 classes D has 138,357,544 parameters, E 143,667,240 (the paper's table 2:
    138 and 144 million). A-LRN normalizes after its first convolution.

    Initial weights are those of He et al. (2015). The paper began D and E with a trained A; from Glorot's initial
    weights, which it mentions as another way, E learned almost nothing here in the steps in which it learns all of a
    small set from these.
    """
    tensor = images
    for block, windows in enumerate(CONFIGURATIONS[settings.configuration], start=1):
        for place, window in enumerate(windows, start=1):
            tensor = keras.layers.Conv2D(
                settings.scaled(FILTERS[block - 1]),
                window,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"conv{block}_{place}",
            )(tensor)
            if settings.configuration == "A-LRN" and block == 1:
                tensor = local_response_normalization(tensor, name="norm1")
        tensor = keras.layers.MaxPooling2D(2, name=f"pool{block}")(tensor)
    tensor = keras.layers.Flatten(name="flatten")(tensor)
    for name in ("fc6", "fc7"):
        units = settings.scaled(4096)
        tensor = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=name)(tensor)
        tensor = dropout(settings.dropout)(tensor)
    return tensor
