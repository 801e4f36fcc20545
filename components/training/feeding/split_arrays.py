"""Splits as arrays, in the form that the model takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.examples.shards import scan
from headrace.components.models.named_inputs import InputGroup
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.fitted_table import FittedTable

Inputs = Mapping[str, InputGroup]


@dataclass(frozen=True)
class Columns:
    """A split in memory: features and labels, an array [examples, ...] of each.

    A pipeline's features are float32, its labels int32 or float32. Of a model with several inputs, or several outputs,
    they are a dict or tuple of arrays. `weights`, float32[examples], say how much each example counts; None: all alike.
    """

    features: Any
    labels: Any
    weights: NDArray[np.float32] | None = None

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(first_array(self.labels))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example's features, where they are one array."""
        if not isinstance(self.features, np.ndarray):
            raise TypeError(f"received several inputs as a {type(self.features).__name__}, which have no common shape")
        shape: tuple[int, ...] = self.features.shape[1:]
        return shape


def first_array(values: Any) -> Any:
    """The first array of a dict or tuple of arrays, at any depth, or the only one."""
    while isinstance(values, Mapping | tuple | list):
        values = next(iter(values.values() if isinstance(values, Mapping) else values))
    return values


def has_encoded_images(fitted: FittedTable) -> bool:
    """Whether a split holds images as files' bytes, which are decoded batch by batch."""
    return any(one.feature.is_encoded for one in fitted.features.values() if one.backbone is None)


def load_split(folder: Path, *, fitted: FittedTable, inputs: Inputs | None = None) -> Columns:
    """A split in memory, its features in the form of `split_features`, labels in that of `label_array`."""
    table = scan(folder).collect()
    return Columns(split_features(table, fitted=fitted, inputs=inputs), label_array(table, fitted=fitted))


def split_features(
    table: pl.DataFrame, *, fitted: FittedTable, inputs: Inputs | None
) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
    """Features of a split's rows: `feature_array` or, where a model has several inputs, an array for each by name."""
    if inputs is None or len(inputs) == 1:
        return feature_array(table, fitted=fitted)
    return {
        name: _side_by_side(table, group.features).reshape(len(table), *group.shape) for name, group in inputs.items()
    }


def feature_array(table: pl.DataFrame, *, fitted: FittedTable) -> NDArray[np.float32]:
    """Return float32[rows, *input_shape(fitted)] from a split's rows."""
    return _side_by_side(table, fitted.features).reshape(len(table), *input_shape(fitted))


def _side_by_side(table: pl.DataFrame, features: Iterable[str]) -> NDArray[np.float32]:
    columns = [table[name].to_numpy().astype(np.float32, copy=False) for name in features]
    flat = [column.reshape(len(table), -1) for column in columns]
    return np.ascontiguousarray(flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1))


def label_array(table: pl.DataFrame, *, fitted: FittedTable) -> NDArray[Any]:
    """Return the labels of a split's rows: int32[rows] classes, int32[rows, length] tokens or float32[rows] numbers.

    Of several numbers it is float32[rows, numbers].
    """
    return table["label"].to_numpy().astype(task_of(fitted.label).label_dtype, copy=False)


def input_shape(fitted: FittedTable) -> tuple[int, ...]:
    """Return the shape of one example as it is trained on: an image's own, or all columns side by side.

    It is (copies, width) where there are augmented copies, of which a model takes one: `core_shape`.
    """
    features = list(fitted.features.values())
    return features[0].stored_shape if len(features) == 1 else core_shape(fitted)


def core_shape(fitted: FittedTable) -> tuple[int, ...]:
    """Return the shape of one example as the model takes it."""
    features = list(fitted.features.values())
    return features[0].shape if len(features) == 1 else (sum(feature.width for feature in features),)
