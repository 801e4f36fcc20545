"""What other DAGs may be scheduled on: a pipeline's data set, and its champion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, AssetAlias, AssetAny

from headrace.pipelines.artifacts.registration import read_registration
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.paths import PipelinePaths


def dataset_of(pipeline: str) -> Asset:
    """The asset that `split` publishes: train, validation and test of a pipeline."""
    return Asset(name=f"headrace_{pipeline}_dataset", uri=f"x-headrace://{pipeline}/dataset")


def champion_of(pipeline: str) -> Asset:
    """The asset that `register` publishes when a new model becomes champion."""
    return Asset(name=f"headrace_{pipeline}_champion", uri=f"x-headrace://{pipeline}/champion")


def predicted_of(pipeline: str) -> Asset:
    """The asset that `headrace_PIPELINE_predict` publishes: a new file of predictions."""
    return Asset(name=f"headrace_{pipeline}_predictions", uri=f"x-headrace://{pipeline}/predictions")


def any_of(pipeline: str, published: tuple[str, ...]) -> AssetAny:
    """Schedule of a DAG that waits for one of these: "champion", "dataset"."""
    by_name = {"champion": champion_of(pipeline), "dataset": dataset_of(pipeline)}
    return AssetAny(*(by_name[name] for name in published))


def outlets_of(stage: str, pipeline: str) -> list[Asset | AssetAlias]:
    """Assets that a stage's task may publish. A champion only by an alias: not every model becomes one."""
    by_stage = {"split": [dataset_of(pipeline)], "register": [AssetAlias(_alias(pipeline))]}
    return by_stage.get(stage, [])


def inlets_of(stage: str, pipeline: str) -> list[Asset]:
    """The assets whose earlier events a stage's task reads."""
    return [champion_of(pipeline)] if stage == "register" else []


def publish_events(context: Any, workspace: Path, *, stage: str, pipeline: str, kept: Mapping[str, str]) -> None:
    """Publish a new data set with its digest and counts, or a new champion with its version and metrics.

    A champion is published once, however often its model is registered again.
    """
    paths = PipelinePaths(workspace, pipeline)
    if stage == "split":
        manifest = read_manifest(paths)
        counts = {name: split.examples for name, split in manifest.splits.items()}
        context["outlet_events"][dataset_of(pipeline)].extra = {
            "digest": manifest.digest,
            "examples": counts,
            **kept,
        }
    elif stage == "register":
        registration = read_registration(paths)
        champion = {"version": registration.version, "mlflow_run_id": registration.mlflow_run_id}
        published = (event.extra for event in context["inlet_events"][champion_of(pipeline)])
        if registration.alias == "champion" and not any(champion.items() <= extra.items() for extra in published):
            extra = {**champion, "metrics": registration.metrics, **kept}
            context["outlet_events"][AssetAlias(_alias(pipeline))].add(champion_of(pipeline), extra=extra)


def _alias(pipeline: str) -> str:
    return f"headrace_{pipeline}_new_champion"
