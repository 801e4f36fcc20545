"""Normalize: fit the transforms on training examples only, apply them to all."""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.files.atomic import replace_folder
from headrace.components.files.tables import read_file, write_file
from headrace.components.mapping import Map, map_in_threads, map_to_files
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.split_settings import Split
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.apply import apply
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedTable
from headrace.components.transforms.leak_check import leaking_columns, with_other_held_out_rows
from headrace.pipelines.fetching.fetch import fetch
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.code_digests import transform_code
from headrace.pipelines.project.stage_inputs import require_inputs

log = structlog.get_logger()


def normalize(pipeline: Pipeline, paths: PipelinePaths, *, map_: Map = map_in_threads) -> None:
    """Write data/<pipeline>/normalized: every example, transformed, statistics.json, and a backbone's weights.

    Memory holds one shard for each thread, however many there are.
    """
    require_inputs(paths, "normalize")
    examples = shards.files(paths.examples)
    code, weights = transform_code(paths.root, pipeline), _backbone_weights(pipeline, paths)
    fitted = _fitted(pipeline, examples, code=code, weights=weights, map_=map_)
    write = partial(_write_normalized, fitted=fitted, split=pipeline.split, weights=weights)
    with replace_folder(paths.normalized) as folder:
        targets = (folder / shards.file_name(number) for number in range(len(examples)))
        list(map_to_files(map_, write, zip(examples, targets, strict=True)))
        (folder / paths.statistics.name).write_text(fitted.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if fitted.backbone:
            (folder / fitted.backbone.weights_file).write_bytes(weights)
    width = sum(feature.width for feature in fitted.features.values())
    log.info("normalized", training_examples=fitted.training_examples, features=len(fitted.features), width=width)


def _fitted(pipeline: Pipeline, examples: Sequence[Path], *, code: OwnCode, weights: bytes, map_: Map) -> FittedTable:
    """The pipeline's transforms, fitted to the training rows among some examples."""
    check(pipeline.ingest.features, pipeline.normalize.transforms)
    return fit(
        examples,
        split=pipeline.split,
        features=pipeline.ingest.features,
        transforms=pipeline.normalize.transforms,
        label=pipeline.ingest.label,
        label_transform=pipeline.normalize.label,
        backbone_weights=weights,
        code=code,
        map_files=map_,
    )


def require_no_leak(pipeline: Pipeline, paths: PipelinePaths, *, map_: Map = map_in_threads) -> int:
    """Fit the transforms twice, the second time to other held-out rows; the number of examples that were read.

    The second time, the working directory has those examples in place of the pipeline's, for a transform of one's own
    that reads them by itself. Raises DataError, with the columns, where what is fitted differs.
    """
    require_inputs(paths, "normalize")
    examples = shards.files(paths.examples)
    of_label = pipeline.ingest.label.columns if pipeline.normalize.label else ()
    columns = [*pipeline.normalize.transforms, *of_label]
    code, weights = transform_code(paths.root, pipeline), _backbone_weights(pipeline, paths)
    fitted = _fitted(pipeline, examples, code=code, weights=weights, map_=map_)
    with TemporaryDirectory(dir=ProjectPaths(paths.root).state) as folder:
        other = PipelinePaths(Path(folder).resolve(), paths.pipeline)
        other.examples.mkdir(parents=True)
        for shard in examples:
            changed = with_other_held_out_rows(read_file(shard), split=pipeline.split, columns=columns)
            write_file(changed, other.examples / shard.name)
        with contextlib.chdir(folder):
            again = _fitted(pipeline, shards.files(other.examples), code=code, weights=weights, map_=map_)
    if leaking := leaking_columns(fitted, again):
        raise DataError(
            f"normalize.transforms: {', '.join(leaking)}: fitted otherwise when held-out rows change, which leak into "
            "training; a transform may use nothing but the column that `fit` is given"
        )
    return fitted.training_examples


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
