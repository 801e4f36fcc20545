"""How far the weights of two saved models are apart."""

from pathlib import Path

import numpy as np

from headrace.components.serving_model.keras_file import read_keras_file, refusing, stored_arrays


def largest_difference(one: Path, other: Path) -> float | None:
    """The largest difference of two weights at one place, 0 for equal bits; None where the arrays are other ones.

    Raises DataError for a file that Keras has not written.
    """
    with refusing(one):
        left = {name: array[()] for name, array in stored_arrays(read_keras_file(one).weights)}
    with refusing(other):
        right = {name: array[()] for name, array in stored_arrays(read_keras_file(other).weights)}
    if {name: (array.shape, array.dtype) for name, array in left.items()} != {
        name: (array.shape, array.dtype) for name, array in right.items()
    }:
        return None
    return max((_difference(left[name], right[name]) for name in left), default=0.0)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.tobytes() == other.tobytes() or not one.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        found = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float("inf") if np.isnan(found).any() else float(found.max())
