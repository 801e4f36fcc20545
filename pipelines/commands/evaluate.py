"""`headrace evaluate`: the stage, or the metrics of a checkpoint."""

from headrace.pipelines.commands.arguments import CheckpointOption, PipelineName, load_stage
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.host.file_lock import locked


def evaluate(pipeline: PipelineName, checkpoint: CheckpointOption = None) -> None:
    """Metrics, figures and one report page on the test split; of a checkpoint, only its metrics as JSON."""
    settings, paths = load_stage("evaluate", pipeline)  # before TensorFlow's import, which takes seconds
    import_tensorflow()
    from headrace.pipelines.commands.inference.checkpoint import evaluate_checkpoint
    from headrace.pipelines.lineage.recording import recorded
    from headrace.pipelines.stages.evaluate import evaluate as stage

    if checkpoint is None:
        with locked(paths.lock), recorded("evaluate", settings, paths):
            stage(settings, paths)
    else:
        evaluate_checkpoint(settings, paths, named=checkpoint)
