"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", 2015.

Without the paper's auxiliary heads. Batch normalization (Ioffe and Szegedy, 2015), once a module, does their work and
that of the paper's normalization over neighbouring channels.
"""

import keras
from keras import layers

from models.augmentation import augmented

# Table 1 of the paper: filters of the 1 x 1, 3 x 3 (reduced, then convolved), 5 x 5 (likewise) and pooled branches.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def build_model(inputs, label, *, width: float = 1.0, dropout: float = 0.4):
    """A logit for each class from one image of any size; the paper has 224 x 224 x 3 and `width` 1."""
    [images] = inputs.values()

    def convolution(tensor, filters, kernel_size, strides=1):
        size = max(1, round(filters * width))
        return layers.Conv2D(
            size, kernel_size, strides, padding="same", activation="relu", kernel_initializer="he_normal"
        )(tensor)

    def pooled(tensor, strides=2):
        return layers.MaxPooling2D(3, strides, padding="same")(tensor)

    def normalized(tensor):
        return layers.BatchNormalization(synchronized=True, momentum=0.9)(tensor)

    def inception(tensor, one, three_reduced, three, five_reduced, five, projected):
        branches = [
            convolution(tensor, one, 1),
            convolution(convolution(tensor, three_reduced, 1), three, 3),
            convolution(convolution(tensor, five_reduced, 1), five, 5),
            convolution(pooled(tensor, strides=1), projected, 1),
        ]
        return normalized(layers.Concatenate()(branches))

    maps = augmented(images)
    maps = normalized(pooled(convolution(maps, 64, 7, strides=2)))
    maps = pooled(normalized(convolution(convolution(maps, 64, 1), 192, 3)))
    for name, filters in MODULES.items():
        maps = inception(maps, *filters)
        if name in ("3b", "4e"):
            maps = pooled(maps)
    hidden = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(maps))
    return keras.Model(inputs, layers.Dense(label.outputs)(hidden))
