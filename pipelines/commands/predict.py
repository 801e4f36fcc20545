"""`headrace predict`: rows or images in, predictions of a pipeline's model or of a network of `classifiers` out."""

from typing import Annotated

import typer

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.arguments import (
    AliasOption,
    CheckpointOption,
    Engine,
    PipelineName,
    existing_place,
    load,
    local_path,
    writable_place,
)
from headrace.pipelines.params import load_classifier
from headrace.pipelines.paths import ProjectPaths, project_root

_Input = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="FILE|FOLDER|s3://...",
        help="Raw rows (CSV, Parquet, JSON lines) or images; with --engine ray, a folder or bucket of them.",
        callback=existing_place,
    ),
]
_Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="FILE|FOLDER|s3://...",
        help="CSV or Parquet; without it, a table is shown. With --engine ray, where a part for each file goes.",
        callback=writable_place,
    ),
]
_Engine = Annotated[
    Engine,
    typer.Option(metavar="threads|ray", help="Ray predicts all files of a folder or bucket, and resumes."),
]


def predict(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    input_place: _Input,
    output_place: _Output = None,
    engine: _Engine = Engine.THREADS,
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
    if engine == Engine.RAY:
        if checkpoint is not None or escape_formulas or load_classifier(project.params, pipeline):
            raise ParamsError(
                "--engine ray predicts with a registered version, to Parquet: leave --checkpoint and --escape-formulas "
                "out, and networks of `classifiers` to --engine threads"
            )
        _on_ray(pipeline, input_place, output_place, alias=alias, submission=submission, keep_inputs=keep_inputs)
        return
    input_file, output_file = local_path("--input", input_place), None
    if output_place is not None:
        output_file = local_path("--output", output_place, is_file=True)
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


def _on_ray(
    pipeline: str, input_place: str, output_place: str | None, *, alias: str, submission: bool, keep_inputs: bool
) -> None:
    from headrace.pipelines.commands.inference.predictions_on_ray import predict_on_ray

    settings, paths = load(pipeline)
    predict_on_ray(
        settings,
        paths,
        input_place=input_place,
        output_place=output_place,
        alias=alias,
        submission=submission,
        keep_inputs=keep_inputs,
    )
