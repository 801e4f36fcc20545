"""Many small images as one."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def square_columns(count: int) -> int:
    """Number of columns that make a sheet of so many images as high as it is wide.

    >>> square_columns(100), square_columns(90)
    (10, 10)
    """
    return math.isqrt(count - 1) + 1


def sheet(images: NDArray[Any], *, columns: int) -> NDArray[np.uint8]:
    """Return uint8[height, width(, channels)]: images from 0 to 255 in rows, on black, one pixel between them."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height + 1, width + 1, channels), np.uint8)
    cells[:count, :-1, :-1] = np.rint(np.clip(images, 0, 255))
    lines = cells.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    whole = lines.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]
    return whole[..., 0] if channels == 1 else whole
