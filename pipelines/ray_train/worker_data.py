"""The splits as a worker trains on them: in memory, or in windows from files of its node's own."""

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from headrace.components.examples.shards import scan
from headrace.components.tasks.task import ClassWeights
from headrace.components.tasks.variants import task_of
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import StoredColumns, write_columns
from headrace.components.training.feeding.split_arrays import (
    Columns,
    Inputs,
    has_encoded_images,
    label_array,
    load_split,
)
from headrace.pipelines.ray_train.node import scratch_folder
from headrace.pipelines.ray_train.training_job import TrainedSplit, TrainJob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.components.transforms.fitted_table import FittedTable

OWN_WEIGHT = "sample_weight"  # a column


def split_columns(
    job: TrainJob, split: TrainedSplit, *, fitted: "FittedTable", inputs: Inputs | None = None
) -> Columns | StoredColumns:
    """A split in memory, or in files where it has more examples than `train.window_examples`, or encoded images.

    Of a model with several `inputs`, the features are by their names. Training examples have weights where
    `ingest.sample_weight` or `train.class_weights` gives them; both are multiplied. The files are written once on each
    node; its other workers wait for that.
    """
    folder, window_examples = job.splits / split, job.train.window_examples
    is_large = window_examples is not None and _examples(folder) > window_examples
    columns: Columns | StoredColumns = (
        _stored(job, split, fitted=fitted, inputs=inputs)
        if is_large or has_encoded_images(fitted)
        else load_split(folder, fitted=fitted, inputs=inputs)
    )
    return replace(columns, weights=_weights(job, fitted=fitted)) if split == "train" else columns


def validation_columns(
    job: TrainJob, *, fitted: "FittedTable", inputs: Inputs | None = None
) -> Columns | StoredColumns | None:
    """The validation split; None where nothing is held out, so that it has no rows."""
    return (
        split_columns(job, "validation", fitted=fitted, inputs=inputs) if _examples(job.splits / "validation") else None
    )


def remove_columns(job: TrainJob) -> None:
    """Remove the files of this node; nothing happens where there are none."""
    shutil.rmtree(scratch_folder(job) / "columns", ignore_errors=True)


def _stored(job: TrainJob, split: TrainedSplit, *, fitted: "FittedTable", inputs: Inputs | None) -> StoredColumns:
    folder, scratch = job.splits / split, scratch_folder(job) / "columns"
    scratch.mkdir(parents=True, exist_ok=True)
    windows = Windows(_examples(folder), job.train.global_batch_size, job.train.window_examples)
    with (scratch / f"{split}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the system, however its holder ends
        return write_columns(
            folder, scratch / split, fitted=fitted, inputs=inputs, block_examples=windows.block_examples
        )


def _weights(job: TrainJob, *, fitted: "FittedTable") -> "NDArray[np.float32] | None":
    rows = scan(job.splits / "train")
    own = [OWN_WEIGHT] if OWN_WEIGHT in rows.collect_schema() else []
    if job.train.class_weights is None and not own:
        return None
    table = rows.select("label", *own).collect()
    return row_weights(table, label_array(table, fitted=fitted), fitted=fitted, class_weights=job.train.class_weights)


def row_weights(
    table: pl.DataFrame, labels: "NDArray[Any]", *, fitted: "FittedTable", class_weights: ClassWeights
) -> "NDArray[np.float32] | None":
    """How much each of a training split's rows counts, float32[rows], by its class and its own weight; None: alike."""
    by_class = task_of(fitted.label).example_weights(labels, class_weights=class_weights)
    if OWN_WEIGHT not in table.columns:
        return by_class
    own = table[OWN_WEIGHT].cast(pl.Float32).to_numpy()
    return own if by_class is None else own * by_class


def _examples(folder: Path) -> int:
    return int(scan(folder).select(pl.len()).collect().item())
