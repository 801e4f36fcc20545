"""Shapes through a list of layers, without TensorFlow: a model that can't be built is refused before any work."""

from collections.abc import Sequence

from components.models.settings import Conv2D, Dense, Flatten, GlobalPooling2D, Layer, Pooling2D

Shape = tuple[int | None, ...]


def output_shape(layers: Sequence[Layer], *, input_shape: Shape) -> Shape:
    """Return the shape after all layers, without the batch axis; None stands for a size not yet known.

    Raises ValueError that names the layer, by place and kind, which can't take what the one before it gives.
    """
    shape = input_shape
    for place, layer in enumerate(layers):
        try:
            shape = _after(layer, shape)
        except ValueError as error:
            raise ValueError(f"train.model.layers.{place} ({layer.kind}): {error}") from None
    return shape


def _after(layer: Layer, shape: Shape) -> Shape:
    match layer:
        case Dense():
            return (layer.units,)
        case Flatten():
            return (_product(shape),)
        case Conv2D():
            height, width, _ = _image(shape)
            size = (layer.kernel_size, layer.strides, layer.padding)
            return (_windows(height, *size), _windows(width, *size), layer.filters)
        case Pooling2D():
            height, width, channels = _image(shape)
            size = (layer.pool_size, layer.strides or layer.pool_size, layer.padding)
            return (_windows(height, *size), _windows(width, *size), channels)
        case GlobalPooling2D():
            return (_image(shape)[2],)
        case _:
            return shape


def _image(shape: Shape) -> tuple[int, int, int]:
    match shape:
        case (int(height), int(width), int(channels)):
            return height, width, channels
    raise ValueError(f"needs an image (height, width, channels), got shape {shape}; put it before flatten and dense")


def _windows(size: int, window: int, strides: int, padding: str) -> int:
    """How many windows fit along one axis: (W - K + 2P) / S + 1."""
    if padding == "same":
        return -(-size // strides)
    if window > size:
        raise ValueError(f"a window of {window} does not fit into {size}; use a smaller one or padding: same")
    return (size - window) // strides + 1


def _product(shape: Shape) -> int | None:
    product = 1
    for size in shape:
        if size is None:
            return None
        product *= size
    return product
