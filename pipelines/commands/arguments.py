"""Arguments that several commands take."""

from typing import Annotated

import typer

from headrace.pipelines.commands.engine import Engine
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths, project_root

EngineOption = Annotated[
    Engine | None,
    typer.Option(metavar="threads|ray", help="Where to compute; by default on Ray if RAY_ADDRESS names a cluster."),
]
CheckpointOption = Annotated[
    str | None, typer.Option(metavar="STEP|FOLDER", help="Of the last training by its step; any other by its folder.")
]
PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="A name from `pipelines` in params.yaml.")]


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
