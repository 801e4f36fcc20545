"""Probabilities that are right as often as they say, learned from the validation split, as layers of the saved model.

The layers have no weights: a calibrated model starts another training, and has its weights' digest, as one that is not.
"""

from pathlib import Path
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from headrace.components.training.feeding.split_arrays import load_split
from headrace.components.transforms.fitted_table import FittedTable

Calibration = Literal["none", "temperature", "isotonic"]
Numbers = NDArray[np.float64]

_BATCH = 1024
_MOST_KNOTS = 20
_SMALLEST = 1e-6  # probability: what never happened among the validation rows may happen
_LOG_TEMPERATURES = (-3.0, 3.0)


def calibrated(core: keras.Model, *, kind: Calibration, validation: Path, fitted: FittedTable) -> keras.Model:
    """`core`, which gives logits, with logits whose softmax is calibrated on the rows of the folder `validation`."""
    if kind == "none":
        return core
    rows = load_split(validation, fitted=fitted)
    batches = range(0, rows.examples, _BATCH)
    logits = [np.asarray(core(rows.features[begin : begin + _BATCH], training=False)) for begin in batches]
    found, labels = np.concatenate(logits).astype(np.float64), rows.labels
    if kind == "temperature":
        outputs = keras.layers.Rescaling(1 / best_temperature(found, labels))(core.output)
    else:
        outputs = _isotonic_logits(core.output, _softmax(found), labels)
    return keras.Model(core.input, outputs, name="core")


def best_temperature(logits: Numbers, labels: NDArray[np.int32]) -> float:
    """The number that logits float[rows, classes] are divided by for the least cross-entropy (Guo et al., 2017).

    Between e^-3 and e^3. Its logarithm is found by golden sections: the cross-entropy has one minimum.
    """

    def cross_entropy(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        given = scaled[np.arange(len(labels)), labels]
        return float((np.log(np.exp(scaled).sum(axis=1)) - given).mean())

    low, high = _LOG_TEMPERATURES
    golden = (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if cross_entropy(left) <= cross_entropy(right) else (left, high)
    return float(np.exp((low + high) / 2))


def isotonic_knots(scores: Numbers, hits: Numbers) -> tuple[Numbers, Numbers]:
    """Points of a rising line from scores to shares of hits, of at most 20 groups of rows with about equal scores.

    The shares are the rising ones that are closest to those of the groups: pool adjacent violators (Ayer et al., 1955).
    """
    order = np.argsort(scores, kind="stable")
    groups = np.array_split(order, min(_MOST_KNOTS, max(1, len(order) // 10)))
    points = [(float(scores[group].mean()), float(hits[group].mean()), float(len(group))) for group in groups]
    pools: list[tuple[float, float, list[float]]] = []  # share, weight, and scores of the groups in it
    for score, share, weight in points:
        pools.append((share, weight, [score]))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (one, more, those), (other, rows, these) = pools.pop(-2), pools.pop()
            pools.append(((one * more + other * rows) / (more + rows), more + rows, [*those, *these]))
    x = np.array([score for _, _, members in pools for score in members])
    y = np.array([share for share, _, members in pools for _ in members])
    distinct = np.append(True, np.diff(x) > _SMALLEST)
    return x[distinct], y[distinct].clip(_SMALLEST, 1 - _SMALLEST)


def _isotonic_logits(logits: keras.KerasTensor, probabilities: Numbers, labels: NDArray[np.int32]) -> keras.KerasTensor:
    """Logarithms of each class's calibrated probability; a softmax makes them 1 together (Zadrozny and Elkan, 2002).

    Of two classes one is calibrated, and the other is what is left.
    """
    given = keras.layers.Softmax()(logits)
    classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    columns = [
        _on_line(given[:, one : one + 1], *isotonic_knots(probabilities[:, one], (labels == one).astype(np.float64)))
        for one in classes
    ]
    if len(columns) == 1:
        columns = [1 - columns[0], columns[0]]
    return keras.ops.log(keras.layers.Concatenate()(columns))


def _on_line(values: keras.KerasTensor, x: Numbers, y: Numbers) -> keras.KerasTensor:
    """The line through the points (x, y), level before the first and after the last, as stock layers without weights.

    A sum of hinges: each begins at a point and has the change of slope there.
    """
    slopes = np.append(np.diff(y) / np.diff(x), 0.0)
    changes = np.diff(slopes, prepend=0.0)
    repeated = keras.layers.Flatten()(keras.layers.RepeatVector(len(x))(values))
    hinges = keras.layers.ReLU()(keras.layers.Rescaling(np.ones(len(x)).tolist(), (-x).tolist())(repeated))
    risen = keras.ops.sum(
        keras.layers.Rescaling(changes.tolist(), np.zeros(len(x)).tolist())(hinges), -1, keepdims=True
    )
    return keras.ops.clip(keras.layers.Rescaling(1.0, float(y[0]))(risen), _SMALLEST, 1 - _SMALLEST)


def _softmax(logits: Numbers) -> Numbers:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return found
