"""`headrace ingest`: the stage, in threads or on Ray."""

from headrace.pipelines.commands.arguments import EngineOption, PipelineName, load_stage, open_map
from headrace.pipelines.host.file_lock import locked


def ingest(pipeline: PipelineName, engine: EngineOption = None) -> None:
    """Fetch the source, check it against its schema, write typed examples."""
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.ingest import ingest as stage

    settings, paths = load_stage("ingest", pipeline)
    with open_map(engine) as map_, locked(paths.lock), recorded("ingest", settings, paths):
        stage(settings, paths, map_=map_)
