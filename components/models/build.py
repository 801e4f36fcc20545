"""Keras models from a list of layers."""

import math
from collections.abc import Callable, Sequence

import keras

from components.examples.settings import CategoryLabel, Label
from components.models.settings import (
    ActivationLayer,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalPooling2D,
    Layer,
    Model,
    Pooling2D,
)


def build(
    model: Model,
    *,
    input_shape: Sequence[int],
    label: Label,
    dropout: Callable[[float], keras.layers.Layer] = keras.layers.Dropout,
) -> keras.Model:
    """Return a model from float32[batch, *input_shape] to logits float32[batch, classes], or float32[batch, 1].

    The last layer follows from the label: one unit per class, without softmax, for a category; one unit for a number.
    `dropout` makes a dropout layer from its rate; it has no weights, so another kind of it changes no weight's place.
    """
    inputs = keras.Input(shape=tuple(input_shape), dtype="float32", name="features")
    outputs = inputs
    for layer in model.layers:
        outputs = dropout(layer.rate)(outputs) if isinstance(layer, Dropout) else _apply(layer, outputs)
    outputs = _flat(outputs)
    units = len(label.classes) if isinstance(label, CategoryLabel) else 1
    # float32 whatever the precision of the layers: softmax and losses overflow in half precision.
    outputs = keras.layers.Dense(units, dtype="float32", name="output")(outputs)
    return keras.Model(inputs, outputs, name="core")


def with_probabilities(core: keras.Model, *, label: Label) -> keras.Model:
    """Return `core` with a softmax at its end for a category; `core` itself for a number."""
    if not isinstance(label, CategoryLabel):
        return core
    return keras.Model(core.input, keras.layers.Softmax(name="probabilities")(core.output), name="core_probabilities")


def _apply(layer: Layer, tensor: keras.KerasTensor) -> keras.KerasTensor:  # noqa: PLR0911 - one return per kind
    match layer:
        case Dense():
            regularizer = keras.regularizers.L2(layer.l2) if layer.l2 else None
            return keras.layers.Dense(layer.units, layer.activation, kernel_regularizer=regularizer)(_flat(tensor))
        case Conv2D():
            return keras.layers.Conv2D(
                layer.filters,
                layer.kernel_size,
                strides=layer.strides,
                padding=layer.padding,
                activation=layer.activation,
                kernel_regularizer=keras.regularizers.L2(layer.l2) if layer.l2 else None,
            )(tensor)
        case Pooling2D():
            pool = {"max_pooling2d": keras.layers.MaxPooling2D, "average_pooling2d": keras.layers.AveragePooling2D}
            return pool[layer.kind](layer.pool_size, strides=layer.strides, padding=layer.padding)(tensor)
        case GlobalPooling2D():
            reduce = {
                "global_max_pooling2d": keras.layers.GlobalMaxPooling2D,
                "global_average_pooling2d": keras.layers.GlobalAveragePooling2D,
            }
            return reduce[layer.kind]()(tensor)
        case Flatten():
            return keras.layers.Flatten()(tensor)
        case BatchNormalization():
            # synchronized: the moments of the global batch, so that they do not depend on the number of workers
            return keras.layers.BatchNormalization(momentum=layer.momentum, synchronized=True)(tensor)
        case ActivationLayer():
            return keras.layers.Activation(layer.activation)(tensor)


def _flat(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return tensor if len(tensor.shape) == 2 else keras.layers.Flatten()(tensor)


def parameter_count(model: keras.Model) -> int:
    """Return how many trainable numbers a model has."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
