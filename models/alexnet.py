"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional networks", 2012.

In one tower, as on one GPU. Batch normalization stands where the paper normalizes over neighbouring channels.
"""

import keras
from keras import layers

from models.augmentation import augmented


def build_model(inputs, label, *, width: float = 1.0, dropout: float = 0.5):
    """A logit for each class from one image; the paper has 227 x 227 x 3 and `width` 1, 62 million weights."""
    [images] = inputs.values()

    def scaled(filters):
        return max(1, round(filters * width))

    def convolution(tensor, filters, kernel_size, **more):
        return layers.Conv2D(scaled(filters), kernel_size, activation="relu", padding="same", **more)(tensor)

    def pooled(tensor):
        return layers.MaxPooling2D(3, strides=2)(tensor)  # windows overlap: section 3.4

    maps = augmented(images)
    maps = layers.Conv2D(scaled(96), 11, strides=4, activation="relu")(maps)
    maps = pooled(layers.BatchNormalization(synchronized=True, momentum=0.9)(maps))
    maps = convolution(maps, 256, 5)
    maps = pooled(layers.BatchNormalization(synchronized=True, momentum=0.9)(maps))
    maps = convolution(maps, 384, 3)
    maps = convolution(maps, 384, 3)
    hidden = layers.Flatten()(pooled(convolution(maps, 256, 3)))
    for _ in range(2):
        hidden = layers.Dense(scaled(4096), activation="relu")(hidden)
        hidden = layers.Dropout(dropout)(hidden)
    return keras.Model(inputs, layers.Dense(label.outputs)(hidden))
