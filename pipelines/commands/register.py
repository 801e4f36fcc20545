"""`headrace register`: the stage."""

from headrace.pipelines.commands.arguments import PipelineName, load_stage
from headrace.pipelines.host.file_lock import locked


def register(pipeline: PipelineName) -> None:
    """Register the model; make it champion if it passes and is shown to be better."""
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.register import register as stage

    settings, paths = load_stage("register", pipeline)
    with locked(paths.lock), recorded("register", settings, paths):
        stage(settings, paths)
