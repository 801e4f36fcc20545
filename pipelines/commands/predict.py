"""`headrace predict`: rows or images in, predictions of a pipeline's model or of a network of `classifiers` out."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import (
    AliasOption,
    CheckpointOption,
    PipelineName,
    existing_path,
    load,
    writable_file,
)
from headrace.pipelines.params import load_classifier
from headrace.pipelines.paths import ProjectPaths, project_root

_Input = Annotated[
    Path,
    typer.Option(
        "--input", metavar="FILE", help="Raw rows (CSV, Parquet, JSON lines) or images.", callback=existing_path
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="FILE", help="CSV or Parquet; without it, a table is shown.", callback=writable_file
    ),
]


def predict(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    input_file: _Input,
    output_file: _Output = None,
    alias: AliasOption = "champion",
    checkpoint: CheckpointOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes of a network that only predicts.")] = 5,
    submission: Annotated[bool, typer.Option("--submission", help="Only key and label, for a competition.")] = False,
    keep_inputs: Annotated[
        bool, typer.Option("--keep-inputs", help="Write the rows, too, and which version it was, for monitoring.")
    ] = False,
    escape_formulas: Annotated[
        bool, typer.Option("--escape-formulas", help="In CSV, make text of cells that begin like a formula.")
    ] = False,
) -> None:
    """Predict from raw rows or images with a registered model or a checkpoint's, or with a network of `classifiers`."""
    project = ProjectPaths(project_root())
    if classifier := load_classifier(project.params, pipeline):
        from headrace.pipelines.commands.inference.classify import classify

        classify(
            classifier,
            project.of(pipeline),
            input_file=input_file,
            output_file=output_file,
            top=top,
            escape_formulas=escape_formulas,
        )
        return
    from headrace.pipelines.commands.inference.predictions import write_predictions

    settings, paths = load(pipeline)
    write_predictions(
        settings,
        paths,
        input_file=input_file,
        output_file=output_file,
        alias=alias,
        checkpoint=checkpoint,
        submission=submission,
        keep_inputs=keep_inputs,
        escape_formulas=escape_formulas,
    )
