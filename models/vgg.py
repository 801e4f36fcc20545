"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015."""

from typing import Literal

import keras
from keras import layers

from models.augmentation import augmented

# Table 1 of the paper: how many convolutions each block has.
CONVOLUTIONS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


def build_model(
    inputs, label, *, configuration: Literal["A", "B", "D", "E"] = "D", width: float = 1.0, dropout: float = 0.5
):
    """A logit for each class from one image; the paper has 224 x 224 x 3 and `width` 1, D is VGG-16, E VGG-19."""
    [images] = inputs.values()
    maps = augmented(images)
    for filters, convolutions in zip(FILTERS, CONVOLUTIONS[configuration], strict=True):
        for _ in range(convolutions):
            maps = layers.Conv2D(
                round(filters * width), 3, padding="same", activation="relu", kernel_initializer="he_normal"
            )(maps)
        maps = layers.MaxPooling2D(2)(maps)
    hidden = layers.Flatten()(maps)
    for _ in range(2):
        hidden = layers.Dense(round(4096 * width), activation="relu", kernel_initializer="he_normal")(hidden)
        hidden = layers.Dropout(dropout)(hidden)
    return keras.Model(inputs, layers.Dense(label.outputs)(hidden))
