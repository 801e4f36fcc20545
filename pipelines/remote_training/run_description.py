"""What an MLflow run shows of a training beside its tags: the params of all stages, and the data set."""

import json
from typing import Any

from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.run_dataset import RunDataset

_DATASET_DIGEST = 36  # characters, at most
_DATASET_TEXT = 50_000  # MLflow takes 65,535 bytes


def run_params(pipeline: Pipeline) -> dict[str, Any]:
    """The effective params of a run: those of `train` by their own names, those of other stages behind the stage's."""
    section = pipeline.model_dump(mode="json", by_alias=True)
    others = {stage: section[stage] for stage in ("ingest", "normalize", "split", "evaluate", "register")}
    return {**section["train"], **others}


def trained_dataset(pipeline: Pipeline, paths: PipelinePaths) -> RunDataset:
    """The splits that a training reads, as an input of its MLflow run."""
    manifest = read_manifest(paths)
    source = pipeline.model_dump(mode="json")["ingest"]["source"]
    counts = {name: summary.examples for name, summary in manifest.splits.items()}
    columns = {name: feature.type for name, feature in pipeline.ingest.features.items()}
    return RunDataset(
        name=pipeline.name,
        digest=manifest.digest[:_DATASET_DIGEST],
        source_type=source["kind"],
        source=json.dumps(source)[:_DATASET_TEXT],
        columns=json.dumps(columns)[:_DATASET_TEXT],
        profile=json.dumps({"digest": manifest.digest, "examples": counts}),
    )
