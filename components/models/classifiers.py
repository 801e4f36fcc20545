"""Networks that are only asked: a TensorFlow Lite file, or one of Keras's by name."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.models.classifier_settings import KerasNetwork, TfliteNetwork
from headrace.components.transforms.backbone_network import named_network, scaling

_NUMBER = re.compile(r"^\s*\d+[\s:,]+")


@dataclass(frozen=True)
class Network:
    """`scores` takes a photo, float32[height, width, 3] from 0 to 255, and gives float32[classes]."""

    height: int
    width: int
    scores: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def open_network(network: TfliteNetwork | KerasNetwork, content: bytes) -> Network:
    """Return the network that is in a file of this content; raise DataError where it is none, or another."""
    if isinstance(network, KerasNetwork):
        return _keras_network(network, content)
    return _tflite_network(content, name=network.weights.name)


def read_names(text: str, *, classes: int) -> list[str]:
    """Return the classes' names from lines that may begin with a number; raise DataError if they are too few or many.

    One line more than there are classes: then the first is the background's, which the network can't give.
    """
    names = [_NUMBER.sub("", line).strip() for line in text.splitlines() if line.strip()]
    if len(names) not in (classes, classes + 1):
        raise DataError(
            f"the network has {classes} classes, the labels file {len(names)} lines; give the network's own"
        )
    return names[len(names) - classes :]


def top_classes(
    files: Sequence[str], scores: Sequence[NDArray[np.float32]], names: Sequence[str], *, top: int
) -> pl.DataFrame:
    """Return file, rank, class and score, `top` rows for each file, the best first."""
    rows = [
        (file, rank, names[place], float(of[place]))
        for file, of in zip(files, scores, strict=True)
        for rank, place in enumerate(np.argsort(-of, kind="stable")[:top], start=1)
    ]
    schema = {"file": pl.String, "rank": pl.Int64, "class": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _keras_network(network: KerasNetwork, content: bytes) -> Network:
    shape = (network.size, network.size, 3)
    model = named_network(network.name, alpha=network.alpha, shape=shape, weights=content, with_top=True)
    scaled = keras.layers.Rescaling(*scaling(network.name))

    def scores(photo: NDArray[np.float32]) -> NDArray[np.float32]:
        given: NDArray[np.float32] = np.asarray(model(scaled(photo[np.newaxis]), training=False), np.float32)[0]
        return given

    return Network(network.size, network.size, scores)


def _tflite_network(content: bytes, *, name: str) -> Network:
    try:
        with warnings.catch_warnings():  # it is to move to a package of its own, which TensorFlow 2.21 does not install
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            interpreter = tf.lite.Interpreter(model_content=content)
    except ValueError as error:
        raise DataError(f"{name} is no TensorFlow Lite file: {str(error).splitlines()[0]}") from error
    interpreter.allocate_tensors()
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = (int(size) for size in taken["shape"])

    def scores(photo: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(taken["index"], _as_taken(photo, taken["dtype"])[np.newaxis])
        interpreter.invoke()
        return _dequantized(interpreter.get_tensor(given["index"])[0], given)

    return Network(height, width, scores)


def _as_taken(photo: NDArray[np.float32], dtype: type) -> NDArray[Any]:
    """Pixels as they are for uint8, 128 less for int8, and from -1 to 1 for float32."""
    if not np.issubdtype(dtype, np.integer):
        return photo / np.float32(127.5) - np.float32(1)
    return (photo + np.iinfo(dtype).min).astype(dtype)


def _dequantized(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    """Integers stand for `(integer - zero point) * scale`."""
    if not np.issubdtype(values.dtype, np.integer):
        return values.astype(np.float32)
    scale, zero_point = details["quantization"]
    dequantized: NDArray[np.float32] = ((values.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return dequantized
