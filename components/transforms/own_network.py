"""The Keras network that a transform of the project's own becomes: traced, checked, written, applied."""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from headrace.components.errors import DataError, ParamsError

Numbers = NDArray[np.float32]
TOLERANCE = 1e-6  # of the table's and the model's values, as for every transform


def traced(transform: Callable[[Any], Any], *, columns: int, place: str) -> keras.Model:
    """What `transform` makes of float32[batch, 1], as a network: float32[batch, columns].

    Raises ParamsError for another shape, and for what is no operation of Keras.
    """
    values = keras.Input((1,), dtype="float32")
    after = transform(values)
    if not isinstance(after, keras.KerasTensor) or after.shape != (None, columns):
        found = f"shape {after.shape}" if hasattr(after, "shape") else type(after).__name__
        raise ParamsError(
            f"{place}: transform gave {found} for values of shape (None, 1), expected (None, {columns}); make it of "
            "keras.ops alone, and set `columns` to how many it makes"
        )
    return keras.Model(values, keras.ops.cast(after, "float32"))


def apply_network(network: keras.Model, numbers: Numbers) -> Numbers:
    """What a network makes of float32[rows]: float32[rows, columns]."""
    return np.asarray(network(numbers[:, None], training=False), np.float32)


def apply_to_table(written: str, numbers: NDArray[Any], *, place: str) -> Numbers:
    """What the network that `written_network` wrote, as JSON, makes of a column of a table.

    Raises DataError, with the first value, where a finite number becomes one that is not.
    """
    values = numbers.astype(np.float32, copy=False)
    after = apply_network(_network_of(written), values)
    _require_finite(values, after, place=place)
    return after


def written_network(network: keras.Model, *, place: str) -> dict[str, JsonValue]:
    """A network without weights, as Keras writes it; raises ParamsError where it has some, or can't be written."""
    if network.weights:
        raise ParamsError(f"{place}: a transform has no weights to train; give keras.ops constants instead of layers")
    written = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    names = {layer["name"]: f"step_{number}" for number, layer in enumerate(written["config"]["layers"])}
    found: dict[str, JsonValue] = _renamed(written, names)
    return {**found, "config": {**_renamed(written["config"], names), "name": "transform"}}


def _renamed(part: Any, names: dict[str, str]) -> Any:
    """With other names of layers: Keras counts them over a whole process, and the same network has the same digest."""
    if isinstance(part, dict):
        part = {key: _renamed(value, names) for key, value in part.items()}
        return {**part, "name": names.get(part["name"], part["name"])} if isinstance(part.get("name"), str) else part
    if isinstance(part, list):
        if len(part) == 3 and isinstance(part[0], str) and part[0] in names:  # layer, node and tensor
            return [names[part[0]], *part[1:]]
        return [_renamed(value, names) for value in part]
    return part


def read_network(written: dict[str, JsonValue]) -> keras.Model:
    """The network that `written_network` wrote, read in safe mode, with a name that no other has."""
    config = written["config"]
    unnamed = {**written, "config": {**config, "name": None}} if isinstance(config, dict) else written
    return keras.saving.deserialize_keras_object(unnamed, safe_mode=True)


@lru_cache(maxsize=64)
def _network_of(written: str) -> keras.Model:
    """Read once for all blocks of a table."""
    return read_network(json.loads(written))


def require_one_row_each(network: keras.Model, values: Sequence[float], *, place: str) -> None:
    """Raise ParamsError for a network whose output for a row depends on other rows; DataError as `apply_to_table`."""
    probes = np.array(values, np.float32)
    together = apply_network(network, probes)
    alone = [apply_network(network, probes[row : row + 1]) for row in range(len(probes))]
    if not _same(together, np.concatenate(alone)):
        raise ParamsError(
            f"{place}: transform makes another value of a row where other rows are there, so held-out rows would leak "
            "into training; take what it needs of the training rows in `fit`"
        )
    _require_finite(probes, together, place=place)


def _same(one: Numbers, other: Numbers) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _require_finite(numbers: Numbers, after: Numbers, *, place: str) -> None:
    wrong = np.isfinite(numbers) & ~np.isfinite(after).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{place}: transform made {after[row].tolist()} of {numbers[row]:g}; it must give finite numbers for all "
            "that the data has, so limit what it takes, by keras.ops.clip for example"
        )
