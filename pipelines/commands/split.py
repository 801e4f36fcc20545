"""`headrace split`: the stage, in threads or on Ray."""

from headrace.pipelines.commands.arguments import EngineOption, PipelineName, load_stage, open_map
from headrace.pipelines.host.file_lock import locked


def split(pipeline: PipelineName, engine: EngineOption = None) -> None:
    """Write train, validation and test by example id."""
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.split import split as stage

    settings, paths = load_stage("split", pipeline)
    with open_map(engine) as map_, locked(paths.lock), recorded("split", settings, paths):
        stage(settings, paths, map_=map_)
