"""`headrace normalize`: the stage, in threads or on Ray."""

from headrace.pipelines.commands.arguments import EngineOption, PipelineName, load_stage, open_map
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.host.file_lock import locked


def normalize(pipeline: PipelineName, engine: EngineOption = None) -> None:
    """Fit the transforms on training examples only, apply them to all."""
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.normalize import normalize as stage

    settings, paths = load_stage("normalize", pipeline)
    if settings.normalize.backbone:
        import_tensorflow()
    with open_map(engine) as map_, locked(paths.lock), recorded("normalize", settings, paths):
        stage(settings, paths, map_=map_)
