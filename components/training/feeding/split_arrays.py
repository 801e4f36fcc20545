"""Splits as arrays, in the form that the model takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.examples.shards import scan
from headrace.components.schema.features import ImageFeature
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.fitted_table import FittedTable


@dataclass(frozen=True)
class Columns:
    """A split in memory: features float32[examples, ...], labels int32 or float32[examples, ...].

    `weights`, float32[examples], say how much each example counts; None: all alike.
    """

    features: NDArray[np.float32]
    labels: NDArray[Any]
    weights: NDArray[np.float32] | None = None

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(self.features)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.features.shape[1:]


def has_encoded_images(fitted: FittedTable) -> bool:
    """Whether a split holds images as files' bytes, which are decoded batch by batch."""
    features = (one.feature for one in fitted.features.values() if one.backbone is None)
    return any(isinstance(feature, ImageFeature) and feature.encoding == "encoded" for feature in features)


def load_split(folder: Path, *, fitted: FittedTable) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return features float32[examples, *input_shape(fitted)] and labels, as `label_array` has them."""
    table = scan(folder).collect()
    return feature_array(table, fitted=fitted), label_array(table, fitted=fitted)


def feature_array(table: pl.DataFrame, *, fitted: FittedTable) -> NDArray[np.float32]:
    """Return float32[rows, *input_shape(fitted)] from a split's rows."""
    columns = [table[name].to_numpy().astype(np.float32, copy=False) for name in fitted.features]
    flat = [column.reshape(len(table), -1) for column in columns]
    features = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    return np.ascontiguousarray(features).reshape(len(table), *input_shape(fitted))


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
