"""The first training images, to be looked at beside a training's figures."""

from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.examples.shards import scan
from headrace.components.training.feeding.example_tensors import decode_images
from headrace.components.transforms.fitted_table import FittedTable

COUNT = 16
COLORS = (1, 3, 4)  # channels that a PNG can have


def first_pictures(split: Path, *, fitted: FittedTable, count: int = COUNT) -> dict[str, NDArray[np.float32]]:
    """Return the first `count` images of a split, float32[images, height, width, channels] from 0 to 1, by feature.

    They are as the model is given them: 0 is the least value of all that are shown, 1 the greatest. A feature whose
    values are no longer those of an image is left out.
    """
    images = {name: one for name, one in fitted.features.items() if len(one.shape) == 3 and one.shape[2] in COLORS}
    if not images:
        return {}
    rows = scan(split).select(images.keys()).head(count).collect()
    return {name: _pictures(rows[name], shape=one.shape) for name, one in images.items()}


def _pictures(values: pl.Series, *, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if values.dtype == pl.Binary:
        pixels = decode_images(tf.constant(values.to_list()), shape=shape, divisor=1.0).numpy()
    else:
        pixels = values.to_numpy().reshape(-1, *shape).astype(np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    scaled: NDArray[np.float32] = (pixels - low) / ((high - low) or 1.0)
    return scaled
