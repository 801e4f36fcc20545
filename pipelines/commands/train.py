"""`headrace train`: the stage, with as many workers as requested."""

from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import PipelineName, WorkersOption, load_stage
from headrace.pipelines.host.file_lock import locked
from headrace.pipelines.params import with_workers


def train(
    pipeline: PipelineName,
    workers: WorkersOption = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Train from the first step, although the same was trained before.")
    ] = False,
) -> None:
    """Train on Ray with multi-worker TensorFlow."""
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.train import train as stage

    settings, paths = load_stage("train", pipeline)
    settings = settings if workers is None else with_workers(settings, workers)
    with locked(paths.lock), recorded("train", settings, paths):
        stage(settings, paths, force=force)
