"""Normalize: fit the transforms on training examples only, apply them to all."""

from functools import partial
from pathlib import Path

import structlog

from headrace.components.examples import shards
from headrace.components.files.atomic import replace_folder
from headrace.components.files.tables import read_file, write_file
from headrace.components.mapping import Map, map_in_threads, map_to_files
from headrace.components.schema.split_settings import Split
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.apply import apply
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.fetching.fetch import fetch
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.stage_inputs import require_inputs

log = structlog.get_logger()


def normalize(pipeline: Pipeline, paths: PipelinePaths, *, map_: Map = map_in_threads) -> None:
    """Write data/<pipeline>/normalized: every example, transformed, statistics.json, and a backbone's weights.

    Memory holds one shard for each thread, however many there are.
    """
    check(pipeline.ingest.features, pipeline.normalize.transforms)
    require_inputs(paths, "normalize")
    examples = shards.files(paths.examples)
    weights = _backbone_weights(pipeline, paths)
    fitted = fit(
        examples,
        split=pipeline.split,
        features=pipeline.ingest.features,
        transforms=pipeline.normalize.transforms,
        label=pipeline.ingest.label,
        label_transform=pipeline.normalize.label,
        backbone_weights=weights,
        map_files=map_,
    )
    write = partial(_write_normalized, fitted=fitted, split=pipeline.split, weights=weights)
    with replace_folder(paths.normalized) as folder:
        targets = (folder / shards.file_name(number) for number in range(len(examples)))
        list(map_to_files(map_, write, zip(examples, targets, strict=True)))
        (folder / paths.statistics.name).write_text(fitted.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if fitted.backbone:
            (folder / fitted.backbone.weights_file).write_bytes(weights)
    width = sum(feature.width for feature in fitted.features.values())
    log.info("normalized", training_examples=fitted.training_examples, features=len(fitted.features), width=width)


def _backbone_weights(pipeline: Pipeline, paths: PipelinePaths) -> bytes:
    """Content of the file that a backbone names; empty without a backbone."""
    if pipeline.normalize.backbone is None:
        return b""
    weights = pipeline.normalize.backbone.weights
    file = fetch(weights, dataset="weights", root=paths.root, folder=paths.weights, aside=paths.refused)
    return file.read_bytes()


def _write_normalized(shard: Path | bytes, file: Path, *, fitted: FittedTable, split: Split, weights: bytes) -> None:
    examples = read_file(shard)
    if weights:
        from headrace.components.transforms.backbone_features import with_features

        examples = with_features(examples, fitted, split=split, weights=weights)
    label = task_of(fitted.label).label_values(fitted)
    write_file(apply(examples.lazy(), fitted, label=label).collect(), file)
