"""Arguments and options that several commands take."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace.components.mapping import Map, map_in_threads
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths, project_root


class Engine(StrEnum):
    """Where the data steps compute: in threads of this process, or in tasks of a Ray cluster."""

    THREADS = "threads"
    RAY = "ray"


PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="A name from `pipelines` in params.yaml.")]
PipelineOrAll = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all.")]
EngineOption = Annotated[
    Engine | None,
    typer.Option(metavar="threads|ray", help="Where to compute; by default on Ray if RAY_ADDRESS names a cluster."),
]
WorkersOption = Annotated[
    str | None, typer.Option(metavar="N|MIN:MAX", help="How many workers, instead of train.num_workers.")
]
CheckpointOption = Annotated[
    str | None, typer.Option(metavar="STEP|FOLDER", help="Of the last training by its step; any other by its folder.")
]
AliasOption = Annotated[str, typer.Option(help="Which registered model.")]
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="A tar archive.")]


def load_stage(stage: str, name: str) -> tuple[Pipeline, PipelinePaths]:
    """`load` for a stage, which refuses other versions than those of headrace.lock."""
    from headrace.pipelines.headrace_lock import require_lock

    pipeline, paths = load(name)
    require_lock(paths.root, [stage])
    return pipeline, paths


def load(name: str) -> tuple[Pipeline, PipelinePaths]:
    """Load a pipeline's section of params.yaml and its artifact tree; raise ParamsError for a mistake in the file."""
    project = ProjectPaths(project_root())
    return load_pipeline(project.params, name), project.of(name)


@contextmanager
def open_map(engine: Engine | None) -> Iterator[Map]:
    """Yield the map of an engine: by default Ray if RAY_ADDRESS names a cluster that takes drivers, else threads."""
    address = os.environ.get("RAY_ADDRESS", "")
    takes_drivers = bool(address) and not address.startswith(("http://", "https://"))  # that is a job server
    if engine == Engine.RAY or (engine is None and takes_drivers):
        from headrace.pipelines.ray_data.ray_map import ray_map  # Ray takes a second to import

        with ray_map() as map_:
            yield map_
    else:
        yield map_in_threads
