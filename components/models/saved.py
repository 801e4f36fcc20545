"""Saved models: load one, call one."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from components.errors import DataError
from components.examples.settings import Feature, ImageFeature
from components.models.inputs import model_inputs

Model = Callable[..., Any]
_MOST_PIXELS = 1 << 22  # of a batch


def load_model(path: Path) -> Model:
    """Return a .keras file's model, ready to be called; code hidden in the file is refused (Keras's safe mode).

    Raises DataError where there is no such file, or no model that can be read in it.
    """
    if not path.is_file():
        raise DataError(f"no model at {path}; `headrace train` makes it")
    import keras  # seconds, which a missing file should not cost

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)  # type: ignore[no-any-return]
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"can't load the model {path}: {reason[0]}") from error


def predict(
    model: Model, examples: pl.DataFrame, *, features: Mapping[str, Feature], batch_size: int = 1024
) -> np.ndarray:
    """Return the model's outputs for raw rows: probabilities float32[rows, classes], or numbers float32[rows, 1].

    Called batch by batch, because `Model.predict` first traces a graph: about a second, for nothing here.
    """
    batches = examples.iter_slices(min(batch_size, _most_rows(features)))
    outputs = [model(model_inputs(batch, features=features), training=False) for batch in batches]
    return np.concatenate([np.asarray(output, dtype=np.float32) for output in outputs])


def known_categories(model: Model) -> dict[str, frozenset[str]]:
    """Return, for each input of text, the categories that a model was trained to tell apart."""
    import keras

    layers = [layer for layer in getattr(model, "layers", ()) if isinstance(layer, keras.layers.StringLookup)]
    return {layer.input.name: frozenset(layer.get_vocabulary(include_special_tokens=False)) - {""} for layer in layers}


def _most_rows(features: Mapping[str, Feature]) -> int:
    """Few of large images: what a model makes of one takes many times its memory."""
    pixels = sum(feature.size for feature in features.values() if isinstance(feature, ImageFeature))
    return max(1, _MOST_PIXELS // max(1, pixels))
