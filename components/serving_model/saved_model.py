"""Saved models: load one, call one."""

import math
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.text_modules import import_file
from headrace.components.schema.features import Feature
from headrace.components.serving_model.hub_classes import import_hub
from headrace.components.serving_model.keras_file import read_keras_file, refusing, stored_arrays
from headrace.components.serving_model.model_inputs import model_inputs

Model = Callable[..., Any]
_MOST_VALUES = 1 << 22  # of a batch's largest tensor, in float32: 16 MiB
_FEW_ROWS, _MANY_ROWS = 1 << 10, 1 << 15
_ALWAYS_ALLOWED_BYTES = 1 << 26
_MOST_TIMES_STORED = 4  # a layer that is in a model twice is counted twice


MayRun = Callable[[Mapping[str, str]], bool]


def refuse(sources: Mapping[str, str]) -> bool:  # noqa: ARG001 - whatever it is
    """Accepts no code."""
    return False


def load_model(path: Path, *, may_run: MayRun = refuse) -> Model:
    """The model of a .keras file, ready to be called; code hidden in the file is refused (Keras's safe mode).

    A model of a file of the project holds its code as text, by path. It is run only where `may_run` accepts it, given
    the texts: a model may come from somebody who must not run code here. Raises DataError where it is not accepted,
    there is no such file, or no model that Keras wrote is in it. Memory is bounded by the file's size: what the layers
    declare is compared with what the file stores before anything is built.
    """
    if not path.is_file():
        raise DataError(f"no model at {path}; `headrace train` makes it")
    file = read_keras_file(path)
    if file.sources and not may_run(file.sources):
        raise DataError(
            f"{path} holds code of a project, {', '.join(file.sources)}, which is not code of this project: a model's "
            "code is run where the project has the same, in its folder or in its git history; look at it, and commit it"
        )
    with OwnCode(file.sources).importable(), refusing(path):
        import_hub(file.config)
        for source in file.sources:
            import_file(source)
        stored_bytes = sum(array.nbytes for _, array in stored_arrays(file.weights))
        declared_bytes = _declared_bytes(file.config)
        if declared_bytes > max(_MOST_TIMES_STORED * stored_bytes, _ALWAYS_ALLOWED_BYTES):
            raise ValueError(f"its layers declare weights of {declared_bytes} bytes, and the file has {stored_bytes}")
        del file  # as large as the model, which Keras reads again
        return _load(path)


def _load(path: Path) -> Model:
    import keras  # seconds, which a damaged file should not cost

    with warnings.catch_warnings():
        # Keras would continue with weights as they were initialized.
        warnings.filterwarnings("error", "Skipping nested container", UserWarning)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)  # type: ignore[no-any-return]
        except UserWarning:
            pass
    raise ValueError("the file's weights are not those of its layers")


def _declared_bytes(config: dict[str, Any]) -> int:
    """Size of the weights of a model that is built by shapes alone: nothing is allocated.

    Built in a thread of its own, because Keras keeps a list for each thread of variables that it has yet to allocate.
    """

    def build() -> int:
        import keras

        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
        return sum(math.prod(variable.shape) * np.dtype(variable.dtype).itemsize for variable in model.variables)

    with ThreadPoolExecutor(1) as alone:
        return alone.submit(build).result()


def predict(model: Model, examples: pl.DataFrame, *, features: Mapping[str, Feature]) -> np.ndarray:
    """Return the model's outputs for raw rows: probabilities float32[rows, classes], or numbers float32[rows, 1].

    Called batch by batch, because `Model.predict` first traces a graph: about a second, for nothing here. A traced
    graph also rounds differently, as batches of other sizes do not.
    """
    batches = examples.iter_slices(rows_at_once(model, features))
    outputs = [model(model_inputs(batch, features=features), training=False) for batch in batches]
    return np.concatenate([np.asarray(output, dtype=np.float32) for output in outputs])


def known_categories(model: Model) -> dict[str, frozenset[str]]:
    """For each input of text, the categories that a model was trained to distinguish."""
    import keras

    layers = [layer for layer in getattr(model, "layers", ()) if isinstance(layer, keras.layers.StringLookup)]
    return {layer.input.name: frozenset(layer.get_vocabulary(include_special_tokens=False)) - {""} for layer in layers}


def rows_at_once(model: Model, features: Mapping[str, Feature]) -> int:
    """How many rows a batch of a prediction has: as many as keep its largest tensor within some MiB.

    Of narrow tables many, because a call of the model costs the same for one row as for thousands. Few of large
    images: what a model makes of one takes many times its memory.
    """
    if not all(feature.is_single for feature in features.values()):
        values = (math.prod(feature.input_shape) for feature in features.values() if not feature.is_single)
        return max(1, min(_FEW_ROWS, _MOST_VALUES // sum(values)))
    widest = max(len(features), _widest_output(model))
    return max(_FEW_ROWS, min(_MANY_ROWS, _MOST_VALUES // widest))


def _widest_output(model: Model) -> int:
    """Values that the widest layer gives for a row: by its shape, or by its weights where that is not known."""
    import keras

    layers, weights = getattr(model, "layers", ()), getattr(model, "weights", ())
    outputs = [output for layer in layers for output in keras.tree.flatten(getattr(layer, "output", ()))]
    widths = [math.prod(size or 1 for size in output.shape[1:]) for output in outputs]
    widths += [weight.shape[-1] for weight in weights if weight.shape]
    return max(widths, default=1)
