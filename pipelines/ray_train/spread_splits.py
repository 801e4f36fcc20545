"""Splits whose shards are spread over the nodes of a training, as batches; and single shards of them as files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from headrace.components.tasks.classification import balanced
from headrace.components.tasks.task import ClassWeights
from headrace.components.tasks.variants import task_of
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import checked_images, image_divisor
from headrace.components.training.feeding.split_arrays import (
    Columns,
    Inputs,
    input_shape,
    label_array,
    split_features,
)
from headrace.components.training.feeding.window_parts import ShardLayout
from headrace.pipelines.artifacts.artifact import read_artifact
from headrace.pipelines.artifacts.split_manifest import SplitManifest
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import fetch
from headrace.pipelines.ray_train.training_job import TrainedSplit, TrainJob, is_shard
from headrace.pipelines.ray_train.worker_data import row_weights

if TYPE_CHECKING:
    from headrace.components.training.feeding.exchanged_batches import ExchangedBatches
    from headrace.components.transforms.fitted_table import FittedTable
    from headrace.pipelines.ray_train.node_shards import RemoteNodes


def spread_split(
    job: TrainJob, split: TrainedSplit, nodes: "RemoteNodes", *, fitted: "FittedTable", inputs: Inputs | None
) -> "ExchangedBatches | None":
    """A split as batches of rows that the nodes deal out; None for one without rows."""
    from headrace.components.training.feeding.exchanged_batches import ExchangedBatches

    manifest = read_artifact(job.splits / "manifest.json", SplitManifest, command="headrace split")
    examples = manifest.splits[split].examples
    if not examples:
        return None
    shard_examples, schema = nodes.first_shard(split)
    columns = pl.DataFrame(pl.from_arrow(schema.empty_table())).schema
    divisor = image_divisor(columns, fitted, place=f"the {split} split")
    weights = _class_weights(job, manifest, fitted) if split == "train" else None
    return ExchangedBatches(
        nodes,
        ShardLayout(examples, shard_examples, len(nodes)),
        Windows(examples, job.train.global_batch_size, job.train.window_examples),
        job.train.seed if split == "train" else None,
        split,
        partial(
            _columns,
            fitted=fitted,
            inputs=inputs,
            is_encoded=divisor is not None,
            is_weighted=split == "train",
            class_weights=weights,
        ),
        () if inputs is not None and len(inputs) > 1 else input_shape(fitted),
        divisor,
    )


def _columns(
    table: pl.DataFrame,
    *,
    fitted: "FittedTable",
    inputs: Inputs | None,
    is_encoded: bool,
    is_weighted: bool,
    class_weights: ClassWeights,
) -> Columns:
    labels = label_array(table, fitted=fitted)
    features: Any
    if is_encoded:
        [name] = fitted.features
        features = np.array(checked_images(table, name).to_list(), dtype=object)
    else:
        features = split_features(table, fitted=fitted, inputs=inputs)
    weights = row_weights(table, labels, fitted=fitted, class_weights=class_weights) if is_weighted else None
    return Columns(features, labels, weights)


def _class_weights(job: TrainJob, manifest: SplitManifest, fitted: "FittedTable") -> ClassWeights:
    """Weights by class where they are to be balanced: by the counts of the whole split."""
    classes = task_of(fitted.label).classes
    if job.train.class_weights != "balanced" or not classes:
        return job.train.class_weights
    counts = manifest.splits["train"].classes or {}
    by_class = balanced(np.array([counts.get(str(index), 0) for index in range(len(classes))]))
    return dict(zip(classes, by_class.tolist(), strict=True))


@contextmanager
def fetched_shards(job: TrainJob, split: TrainedSplit, *, count: int | None = None) -> Iterator[Path]:
    """A folder with a split's shards, or only its first `count`; of a spread split they are removed afterwards."""
    if split not in job.spread:
        yield job.splits / split
        return
    folder = job.folder / f"whole-{split}"
    last = "" if count is None else f"splits/{split}/part-{count:05d}"

    def is_left_out(name: str) -> bool:
        return not is_shard(name, split) or (count is not None and name >= last)

    try:
        fetch(str(job.inputs), folder, storage=open_storage(str(job.storage)), left_out=is_left_out)
        yield folder / "splits" / split
    finally:
        shutil.rmtree(folder, ignore_errors=True)
