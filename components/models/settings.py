"""Models as a list of layers: kind and arguments, checked before anything starts."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings import Settings

Activation = Literal["linear", "relu", "gelu", "silu", "elu", "selu", "tanh", "sigmoid", "softplus", "softmax"]
Positive = Annotated[int, Field(ge=1, le=65_536)]


class Dense(Settings):
    """A fully connected layer; an input with more than one axis is flattened first."""

    kind: Literal["dense"] = "dense"
    units: Positive
    activation: Activation = "linear"
    l2: Annotated[float, Field(ge=0)] = 0.0


class Conv2D(Settings):
    """A 2-D convolution over float32[batch, height, width, channel]."""

    kind: Literal["conv2d"] = "conv2d"
    filters: Positive
    kernel_size: Annotated[int, Field(ge=1, le=64)]
    strides: Annotated[int, Field(ge=1, le=64)] = 1
    padding: Literal["valid", "same"] = "same"
    activation: Activation = "linear"
    l2: Annotated[float, Field(ge=0)] = 0.0


class Pooling2D(Settings):
    """The maximum or the average of each window; `strides` is the window's size unless given."""

    kind: Literal["max_pooling2d", "average_pooling2d"]
    pool_size: Annotated[int, Field(ge=1, le=64)] = 2
    strides: Annotated[int, Field(ge=1, le=64)] | None = None
    padding: Literal["valid", "same"] = "valid"


class GlobalPooling2D(Settings):
    """The maximum or the average over height and width."""

    kind: Literal["global_max_pooling2d", "global_average_pooling2d"]


class Flatten(Settings):
    """All axes but the batch's become one."""

    kind: Literal["flatten"] = "flatten"


class Dropout(Settings):
    """Sets a random share `rate` of its inputs to 0 while training (Srivastava et al., 2014)."""

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)]


class BatchNormalization(Settings):
    """Normalizes by the statistics of the global batch, all workers together (Ioffe and Szegedy, 2015)."""

    kind: Literal["batch_normalization"] = "batch_normalization"
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99


class ActivationLayer(Settings):
    """An activation on its own."""

    kind: Literal["activation"] = "activation"
    activation: Activation


Layer = Annotated[
    Dense | Conv2D | Pooling2D | GlobalPooling2D | Flatten | Dropout | BatchNormalization | ActivationLayer,
    Field(discriminator="kind"),
]


class Model(Settings):
    """The layers between the input and the output; the output layer follows from the label."""

    layers: tuple[Layer, ...]
