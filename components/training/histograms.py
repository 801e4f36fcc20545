"""How a model's weights are spread, epoch by epoch."""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

BINS = 30


def write_histograms(folder: Path, model: keras.Model, *, epoch: int) -> None:
    """Write the histograms of all trainable weights after `epoch` to a file of its own: a redone epoch replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    spread = {variable.path: histogram(np.asarray(variable)) for variable in model.trainable_variables}
    np.savez(histogram_file(folder, epoch), allow_pickle=False, **spread)


def histogram(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return float64[BINS, 3], one row per bin: left edge, right edge, count (TensorBoard's own form)."""
    counts, edges = np.histogram(values, bins=BINS)
    return np.stack([edges[:-1], edges[1:], counts.astype(np.float64)], axis=1)


def histogram_file(folder: Path, epoch: int) -> Path:
    """File of the histograms after `epoch`."""
    return folder / f"histograms-{epoch:06d}.npz"


def read_histograms(file: Path) -> dict[str, NDArray[np.float64]]:
    """Return each weight's histogram, float64[BINS, 3], by the weight's path."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
