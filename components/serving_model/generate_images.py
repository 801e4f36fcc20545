"""Images that a saved model makes of noise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.mixing import mix

NOISE = "noise"  # the name of the model's input
_MOST_IMAGES = 1000  # at once


def normal_noise(count: int, width: int, *, seed: int) -> NDArray[np.float32]:
    """Return float32[count, width] of a standard normal distribution, the same on every machine for a seed.

    By Box and Muller (1958), from draws that are written out in this project.
    """
    places = np.arange(2 * count * width, dtype=np.uint64)
    radius, angle = ((mix(places, seed) >> np.uint64(11)) / 2.0**53).reshape(2, count, width)
    normal: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    return normal.astype(np.float32)


def require_generator(model: Any) -> None:
    """Raise DataError unless a loaded model makes images of noise."""
    if set(model.input) != {NOISE} or len(model.output.shape) != 4:
        raise DataError(f"it takes {', '.join(model.input)} and gives {tuple(model.output.shape[1:])}, and no images")


def generate_images(model: Any, *, count: int, seed: int) -> NDArray[np.float32]:
    """Return float32[count, height, width, channels], raw pixels that a saved model makes of noise from a seed."""
    noise = normal_noise(count, model.input[NOISE].shape[-1], seed=seed)
    parts = [noise[begin : begin + _MOST_IMAGES] for begin in range(0, count, _MOST_IMAGES)]
    return np.concatenate([np.asarray(model({NOISE: part}, training=False), dtype=np.float32) for part in parts])
