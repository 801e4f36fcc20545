"""`headrace evaluate`: the stage, or the metrics of a checkpoint, or of a registered version on new rows."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.arguments import (
    AliasOption,
    CheckpointOption,
    PipelineName,
    existing_path,
    load,
    load_stage,
    writable_file,
)
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.host.file_lock import locked


def evaluate(
    pipeline: PipelineName,
    checkpoint: CheckpointOption = None,
    *,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FILE", help="Labelled rows, instead of the test split.", callback=existing_path
        ),
    ] = None,
    alias: AliasOption = "champion",
    output_file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="With --input: outcomes as Parquet.", callback=writable_file),
    ] = None,
) -> None:
    """Metrics, figures and one report page on the test split; of a checkpoint or new rows, only metrics as JSON."""
    if input_file is not None:
        if checkpoint is not None:
            raise ParamsError("--input: rows are scored by a registered version; leave --checkpoint out")
        from headrace.pipelines.commands.inference.labelled_rows import evaluate_rows

        evaluate_rows(*load(pipeline), input_file=input_file, alias=alias, output_file=output_file)
        return
    if output_file is not None:
        raise ParamsError("--output is for --input FILE: the stage writes to reports/")
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
