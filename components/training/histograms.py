"""How a model's weights are spread, epoch by epoch."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from headrace.components.training.workers.group import local_value

BINS = 30
MOST_VALUES = 1 << 17  # of one variable that are counted: all of 100 million took a second


def weight_histograms(model: keras.Model) -> dict[str, NDArray[np.float64]]:
    """Return each trainable weight's histogram, float64[BINS, 3], by the weight's path."""
    return {variable.path: histogram(local_value(variable)) for variable in model.trainable_variables}


def write_histograms(folder: Path, histograms: Mapping[str, NDArray[np.float64]], *, epoch: int) -> None:
    """Write the histograms of after `epoch` to a file of its own: a redone epoch replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(histogram_file(folder, epoch), allow_pickle=False, **histograms)


def histogram(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return float64[BINS, 3], one row per bin: left edge, right edge, count (TensorBoard's own form).

    The edges are those of all values. Of more than `MOST_VALUES`, only so many, evenly spread ones are counted.
    """
    every = -(-values.size // MOST_VALUES) | 1  # odd, so that it meets all columns of a matrix with 2^n of them
    counts, edges = np.histogram(values.reshape(-1)[::every], bins=BINS, range=(values.min(), values.max()))
    return np.stack([edges[:-1], edges[1:], counts.astype(np.float64)], axis=1)


def histogram_file(folder: Path, epoch: int) -> Path:
    """File of the histograms after `epoch`."""
    return folder / f"histograms-{epoch:06d}.npz"


def read_histograms(file: Path) -> dict[str, NDArray[np.float64]]:
    """Return each weight's histogram, float64[BINS, 3], by the weight's path."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
