"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

The form in which it is commonly built today, of 61,706 weights: in the paper each map of the second convolution sees
some of the first one's maps, pooling has weights, and activations are scaled tanh.
"""

import keras
from keras import layers


def build_model(inputs, label):
    """A logit for each class from one image, float32[batch, 28, 28, 1] from 0 to 1."""
    [images] = inputs.values()
    maps = layers.Conv2D(6, 5, padding="same", activation="relu")(images)  # the paper pads 28 x 28 to 32 x 32
    maps = layers.MaxPooling2D(2)(maps)
    maps = layers.Conv2D(16, 5, activation="relu")(maps)
    maps = layers.MaxPooling2D(2)(maps)
    maps = layers.Conv2D(120, 5, activation="relu")(maps)
    hidden = layers.Dense(84, activation="relu")(layers.Flatten()(maps))
    return keras.Model(inputs, layers.Dense(label.outputs)(hidden))
