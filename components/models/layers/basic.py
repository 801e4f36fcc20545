"""Layers for any values: fully connected, dropped, flattened, reshaped."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from headrace.components.models.layers.layer import (
    Activation,
    LayerSettings,
    Positive,
    Surroundings,
    WeightedLayer,
    flat,
    l2_penalty,
)
from headrace.components.models.layers.shape import Shape, product

if TYPE_CHECKING:
    import keras


class Dense(WeightedLayer):
    """A fully connected layer; an input with more than one axis is flattened first, unless `each_place`."""

    kind: Literal["dense"] = "dense"
    units: Positive
    """Number of outputs."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the squared weights that are added to the loss."""

    each_place: bool = False
    """Whether to connect the last axis alone, with the same weights at each place of a sequence or image."""

    @property
    def keeps_places(self) -> bool:
        """Not where places are flattened."""
        return self.each_place

    def shape_after(self, shape: Shape) -> Shape:
        """`units`, or in the place of the last axis."""
        return (*shape[:-1], self.units) if self.each_place else (self.units,)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Dense."""
        import keras

        dense = keras.layers.Dense(self.units, self.activation, kernel_regularizer=l2_penalty(self.l2), name=self.name)
        return dense(tensor if self.each_place else flat(tensor))


class DropConnect(WeightedLayer):
    """A fully connected layer that drops weights instead of outputs while training (Wan et al., 2013).

    Every example has a mask of its own, for weights and biases. After training all weights count, without sampling.
    """

    kind: Literal["drop_connect"] = "drop_connect"
    units: Positive
    """Number of outputs."""

    rate: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the weights that are set to 0 in training."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    @property
    def keeps_places(self) -> bool:
        """Places are flattened."""
        return False

    def shape_after(self, shape: Shape) -> Shape:
        """`units`."""
        return (self.units,)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """A layer that draws in training, one of all weights otherwise."""
        return around.drop_connect(self)(flat(tensor))


class Flatten(LayerSettings):
    """All axes but the batch's become one."""

    kind: Literal["flatten"] = "flatten"

    @property
    def keeps_places(self) -> bool:
        """Places become values."""
        return False

    def shape_after(self, shape: Shape) -> Shape:
        """One axis."""
        return (product(shape),)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Flatten."""
        import keras

        return keras.layers.Flatten()(tensor)


class Reshape(LayerSettings):
    """The same values in another shape, row-major: a vector as a sequence, or an image as a sequence of its places."""

    kind: Literal["reshape"] = "reshape"
    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    """The new shape, without the batch: `[length, values]`, or `[height, width, channels]`."""

    @property
    def keeps_places(self) -> bool:
        """Places are others."""
        return False

    def shape_after(self, shape: Shape) -> Shape:
        """`shape`, if it has as many values."""
        values, wanted = product(shape), product(self.shape)
        if values not in (None, wanted):
            raise ValueError(f"shape {list(self.shape)} has {wanted} values, got {values} of shape {shape}")
        return self.shape

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Reshape."""
        import keras

        return keras.layers.Reshape(self.shape)(tensor)


class Dropout(LayerSettings):
    """Sets a random share `rate` of its inputs to 0 while training (Srivastava et al., 2014)."""

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)]
    """Share of the inputs that are set to 0 in training."""

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """A layer that draws for the global batch in training."""
        return around.dropout(self.rate)(tensor)


class ActivationLayer(LayerSettings):
    """An activation on its own."""

    kind: Literal["activation"] = "activation"
    activation: Activation
    """Keras's activation of that name."""

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Activation."""
        import keras

        return keras.layers.Activation(self.activation)(tensor)
