"""What is required of a saved model: its inputs, and outputs that are finite."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from headrace.components.errors import DataError, TrainingError
from headrace.components.schema.features import Feature
from headrace.components.serving_model.saved_model import predict


def check_finite(predictions: np.ndarray) -> None:
    """Raise TrainingError if a prediction, or what was made of it, is not a finite number."""
    if bad := np.count_nonzero(~np.isfinite(predictions)):
        raise TrainingError(
            f"{bad} of {predictions.size} predictions are not finite numbers; "
            "is a transform missing for a column with missing or huge values?"
        )


def finite_outputs(model: Any, examples: pl.DataFrame, features: Mapping[str, Feature]) -> np.ndarray:
    """Outputs for raw rows, float32[rows, values]; raises DataError where one is not finite."""
    outputs = predict(model, examples, features=features)
    if bad := np.count_nonzero(~np.isfinite(outputs).all(axis=1)):
        raise DataError(f"the model gives no finite number for {bad} of {examples.height} rows; look for huge values")
    return outputs


def select_predictions(predictions: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """These columns as float64[rows, columns]; raises DataError where one is missing or not finite."""
    if missing := [name for name in columns if name not in predictions.columns]:
        raise DataError(f"the predictions have no column {missing[0]!r}; they are of another label, or not whole")
    values = predictions.select(pl.col(columns).cast(pl.Float64)).to_numpy()
    if bad := int(np.count_nonzero(~np.isfinite(values).all(axis=1))):
        raise DataError(f"{bad} of {predictions.height} predictions are not finite numbers")
    return values


def check_inputs(model: Any, features: Mapping[str, Feature]) -> None:
    """Raise DataError if the model takes a feature that is not there, or is of another shape or type."""
    for name, tensor in model.input.items():
        feature = features.get(name)
        found = (tuple(tensor.shape[1:]), "string" if tensor.dtype == "string" else "float32")
        if feature is None or found != (feature.input_shape, feature.input_dtype):
            raise DataError(f"it takes a feature {name!r} of shape {tuple(tensor.shape[1:])} and type {tensor.dtype}")


def check_width(model: Any, width: int, *, label: str) -> None:
    """Raise DataError if the model gives another number of values for a row than the label needs."""
    if model.output.shape[-1] != width:
        raise DataError(f"it gives {model.output.shape[-1]} numbers a row, and the label {label!r} needs {width}")
