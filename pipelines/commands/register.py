"""`headrace register`: the stage."""

from contextlib import suppress

from headrace.components.errors import UserError
from headrace.pipelines.commands.arguments import PipelineName, load_stage
from headrace.pipelines.host.file_lock import locked


def register(pipeline: PipelineName) -> None:
    """Register the model; make it champion if it passes and is shown to be better."""
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.register import register as stage
    from headrace.pipelines.tracking.champion_notes import note_champions
    from headrace.pipelines.tracking.server import database_of

    settings, paths = load_stage("register", pipeline)
    with locked(paths.lock), recorded("register", settings, paths):
        stage(settings, paths)
    if database_of(paths.root) is not None:
        with suppress(UserError):  # it only spares `headrace list` the import of MLflow, which is done here
            note_champions(paths.root)
