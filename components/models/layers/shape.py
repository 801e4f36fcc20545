"""Shapes of one example between two layers, without TensorFlow."""

Shape = tuple[int | None, ...]
"""Sizes without the batch axis; None for one that the data decides."""


def image(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels; raise ValueError for another shape."""
    match shape:
        case (int(height), int(width), int(channels)):
            return height, width, channels
    raise ValueError(f"needs an image (height, width, channels), got shape {shape}; put it before flatten and dense")


def sequence(shape: Shape) -> tuple[int, int | None]:
    """Length and number of values of each place; raise ValueError for another shape."""
    match shape:
        case (int(length), values):
            return length, values
    raise ValueError(f"needs a sequence (length, values), got shape {shape}; put it after embedding or reshape")


def windows(size: int, window: int, strides: int, padding: str) -> int:
    """How many windows fit along one axis: (W - K + 2P) / S + 1."""
    if padding in ("same", "causal"):
        return -(-size // strides)
    if window > size:
        raise ValueError(f"a window of {window} does not fit into {size}; use a smaller one or padding: same")
    return (size - window) // strides + 1


def product(shape: Shape) -> int | None:
    """Number of values; None where a size is not known."""
    total = 1
    for size in shape:
        if size is None:
            return None
        total *= size
    return total
