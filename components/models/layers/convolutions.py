"""Convolutions over images and sequences: plain, separable, transposed."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.models.layers.layer import (
    Activation,
    Positive,
    Surroundings,
    WeightedLayer,
    WindowSize,
    l2_penalty,
)
from headrace.components.models.layers.shape import Shape, image, sequence, windows

if TYPE_CHECKING:
    import keras


class Conv2D(WeightedLayer):
    """A 2-D convolution over float32[batch, height, width, channel]."""

    kind: Literal["conv2d"] = "conv2d"
    filters: Positive
    """Number of output channels."""

    kernel_size: WindowSize
    """Height and width of the window."""

    strides: WindowSize = 1
    """Step of the window."""

    padding: Literal["valid", "same"] = "same"
    """`same` pads with zeros; `valid` makes the image smaller."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the squared weights that are added to the loss."""

    def shape_after(self, shape: Shape) -> Shape:
        """Height and width that the windows leave, and the filters."""
        height, width, _ = image(shape)
        size = (self.kernel_size, self.strides, self.padding)
        return (windows(height, *size), windows(width, *size), self.filters)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Conv2D."""
        import keras

        return keras.layers.Conv2D(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            activation=self.activation,
            kernel_regularizer=l2_penalty(self.l2),
            name=self.name,
        )(tensor)


class Conv1D(WeightedLayer):
    """A convolution along a sequence, float32[batch, length, values]."""

    kind: Literal["conv1d"] = "conv1d"
    filters: Positive
    """Number of values of each place."""

    kernel_size: WindowSize
    """Number of places in the window."""

    strides: WindowSize = 1
    """Step of the window."""

    dilation: WindowSize = 1
    """Distance between the places of the window."""

    padding: Literal["valid", "same", "causal"] = "same"
    """`same` pads with zeros, `causal` at the beginning alone, so that no place sees a later one; `valid` makes the
    sequence shorter.
    """

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the squared weights that are added to the loss."""

    @model_validator(mode="after")
    def _strides_or_dilation(self) -> Self:
        if self.strides > 1 and self.dilation > 1:
            raise ValueError("strides and dilation can't both be more than 1; leave one of them out")
        return self

    @property
    def keeps_places(self) -> bool:
        """With padding, and where each place has a window."""
        return self.padding != "valid" and self.strides == 1

    @property
    def looks_ahead(self) -> bool:
        """Unless it is causal, or a window is one place."""
        return self.padding != "causal" and self.kernel_size > 1

    def shape_after(self, shape: Shape) -> Shape:
        """Length that the windows leave, and the filters."""
        length, _ = sequence(shape)
        window = (self.kernel_size - 1) * self.dilation + 1
        return (windows(length, window, self.strides, self.padding), self.filters)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Conv1D."""
        import keras

        return keras.layers.Conv1D(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            dilation_rate=self.dilation,
            padding=self.padding,
            activation=self.activation,
            kernel_regularizer=l2_penalty(self.l2),
            name=self.name,
        )(tensor)


class SeparableConvolution(WeightedLayer):
    """A convolution of each channel by itself, then one of all channels at each place (Chollet, 2017)."""

    kind: Literal["separable_conv1d", "separable_conv2d"]
    """Along a sequence, or over an image."""

    filters: Positive
    """Number of output channels."""

    kernel_size: WindowSize
    """Size of the window along each axis."""

    strides: WindowSize = 1
    """Step of the window."""

    padding: Literal["valid", "same"] = "same"
    """`same` pads with zeros; `valid` makes the image or sequence smaller."""

    depth_multiplier: WindowSize = 1
    """Number of outputs of each channel by itself."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    @property
    def keeps_places(self) -> bool:
        """With padding, and where each place has a window."""
        return self.padding != "valid" and self.strides == 1

    @property
    def looks_ahead(self) -> bool:
        """Unless a window is one place."""
        return self.kernel_size > 1

    def shape_after(self, shape: Shape) -> Shape:
        """Sizes that the windows leave, and the filters."""
        *sizes, _ = image(shape) if self.kind == "separable_conv2d" else sequence(shape)
        size = (self.kernel_size, self.strides, self.padding)
        return (*(windows(one or 0, *size) for one in sizes), self.filters)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.SeparableConv1D or SeparableConv2D."""
        import keras

        kind = keras.layers.SeparableConv2D if self.kind == "separable_conv2d" else keras.layers.SeparableConv1D
        return kind(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            depth_multiplier=self.depth_multiplier,
            activation=self.activation,
            name=self.name,
        )(tensor)


class TransposedConvolution(WeightedLayer):
    """A convolution backwards, which makes an image or sequence larger by its strides (Zeiler et al., 2010)."""

    kind: Literal["conv1d_transpose", "conv2d_transpose"]
    """Along a sequence, or over an image."""

    filters: Positive
    """Number of output channels."""

    kernel_size: WindowSize
    """Size of the window along each axis."""

    strides: WindowSize = 1
    """How many times larger the result is along each axis."""

    padding: Literal["valid", "same"] = "same"
    """`same` gives `strides` times the size; `valid` adds what the windows reach beyond."""

    activation: Activation = "linear"
    """Keras's activation of that name, applied to the outputs."""

    @property
    def keeps_places(self) -> bool:
        """With padding, and without strides."""
        return self.padding == "same" and self.strides == 1

    @property
    def looks_ahead(self) -> bool:
        """Unless a window is one place."""
        return self.kernel_size > 1

    def shape_after(self, shape: Shape) -> Shape:
        """Sizes times the strides, and the filters."""
        *sizes, _ = image(shape) if self.kind == "conv2d_transpose" else sequence(shape)
        beyond = max(self.kernel_size - self.strides, 0) if self.padding == "valid" else 0
        return (*((one or 0) * self.strides + beyond for one in sizes), self.filters)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Conv1DTranspose or Conv2DTranspose."""
        import keras

        kind = keras.layers.Conv2DTranspose if self.kind == "conv2d_transpose" else keras.layers.Conv1DTranspose
        return kind(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            activation=self.activation,
            name=self.name,
        )(tensor)
