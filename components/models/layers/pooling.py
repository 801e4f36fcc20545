"""Pooling over images and sequences."""

from typing import TYPE_CHECKING, Literal

from headrace.components.models.layers.layer import LayerSettings, Surroundings, WindowSize
from headrace.components.models.layers.shape import Shape, image, sequence, windows

if TYPE_CHECKING:
    import keras

_LEAST = -60_000.0  # of places that count for nothing: float16 has little less


class Pooling2D(LayerSettings):
    """The maximum or the average of each window; `strides` is the window's size unless given."""

    kind: Literal["max_pooling2d", "average_pooling2d"]
    """The maximum or the average of each window."""

    pool_size: WindowSize = 2
    """Height and width of the window."""

    strides: WindowSize | None = None
    """Step of the window; `null` for the window's size."""

    padding: Literal["valid", "same"] = "valid"
    """`same` pads the image; `valid` makes it smaller."""

    def shape_after(self, shape: Shape) -> Shape:
        """Height and width that the windows leave."""
        height, width, channels = image(shape)
        size = (self.pool_size, self.strides or self.pool_size, self.padding)
        return (windows(height, *size), windows(width, *size), channels)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.MaxPooling2D or AveragePooling2D."""
        import keras

        kind = keras.layers.MaxPooling2D if self.kind == "max_pooling2d" else keras.layers.AveragePooling2D
        return kind(self.pool_size, strides=self.strides, padding=self.padding)(tensor)


class GlobalPooling2D(LayerSettings):
    """The maximum or the average over height and width."""

    kind: Literal["global_max_pooling2d", "global_average_pooling2d"]
    """The maximum or the average over height and width."""

    def shape_after(self, shape: Shape) -> Shape:
        """The channels."""
        return (image(shape)[2],)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.GlobalMaxPooling2D or GlobalAveragePooling2D."""
        import keras

        is_max = self.kind == "global_max_pooling2d"
        return (keras.layers.GlobalMaxPooling2D if is_max else keras.layers.GlobalAveragePooling2D)()(tensor)


class Pooling1D(LayerSettings):
    """The maximum or the average of each window of a sequence; padding of a text counts as other places do."""

    kind: Literal["max_pooling1d", "average_pooling1d"]
    """The maximum or the average of each window."""

    pool_size: WindowSize = 2
    """Number of places in the window."""

    strides: WindowSize | None = None
    """Step of the window; `null` for the window's size."""

    padding: Literal["valid", "same"] = "valid"
    """`same` pads the sequence; `valid` makes it shorter."""

    @property
    def keeps_places(self) -> bool:
        """Windows are others."""
        return False

    @property
    def looks_ahead(self) -> bool:
        """A window has later places, too."""
        return True

    def shape_after(self, shape: Shape) -> Shape:
        """Length that the windows leave."""
        length, values = sequence(shape)
        return (windows(length, self.pool_size, self.strides or self.pool_size, self.padding), values)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.MaxPooling1D or AveragePooling1D."""
        import keras

        kind = keras.layers.MaxPooling1D if self.kind == "max_pooling1d" else keras.layers.AveragePooling1D
        return kind(self.pool_size, strides=self.strides, padding=self.padding)(tensor)


class GlobalPooling1D(LayerSettings):
    """The maximum or the average over all places of a sequence; of a text, over its tokens without padding."""

    kind: Literal["global_max_pooling1d", "global_average_pooling1d"]
    """The maximum or the average over all places."""

    @property
    def keeps_places(self) -> bool:
        """No places are left."""
        return False

    def shape_after(self, shape: Shape) -> Shape:
        """The values."""
        return (sequence(shape)[1],)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.GlobalMaxPooling1D or GlobalAveragePooling1D."""
        import keras
        from keras import ops

        is_token = around.is_token
        if self.kind == "global_average_pooling1d":
            return keras.layers.GlobalAveragePooling1D()(tensor, mask=is_token)
        if is_token is not None:
            tensor = ops.where(ops.expand_dims(is_token, -1), tensor, _LEAST)
        return keras.layers.GlobalMaxPooling1D()(tensor)
