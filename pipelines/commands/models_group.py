"""The command line of what is done with a model once it is there."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import CheckpointOption, PipelineName, load
from headrace.pipelines.commands.export_formats import Form
from headrace.pipelines.params import load_classifier
from headrace.pipelines.paths import ProjectPaths, project_root

models = typer.Typer()


@models.command(rich_help_panel="Commands")
def predict(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    input_file: Annotated[
        Path,
        typer.Option("--input", metavar="FILE", help="Raw rows (CSV, Parquet, JSON lines) or images.", exists=True),
    ],
    output_file: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="CSV or Parquet; without it, a table is shown.")
    ] = None,
    alias: Annotated[str, typer.Option(help="Which registered model.")] = "champion",
    checkpoint: CheckpointOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes of a network that only predicts.")] = 5,
    submission: Annotated[bool, typer.Option("--submission", help="Only key and label, for a competition.")] = False,
    escape_formulas: Annotated[
        bool, typer.Option("--escape-formulas", help="In CSV, make text of cells that begin like a formula.")
    ] = False,
) -> None:
    """Predict from raw rows or images with a registered model or a checkpoint's, or with a network of `classifiers`."""
    project = ProjectPaths(project_root())
    if classifier := load_classifier(project.params, pipeline):
        from headrace.pipelines.commands.classify import classify

        classify(
            classifier,
            project.of(pipeline),
            input_file=input_file,
            output_file=output_file,
            top=top,
            escape_formulas=escape_formulas,
        )
        return
    from headrace.pipelines.commands.predict import predict as command

    settings, paths = load(pipeline)
    command(
        settings,
        paths,
        input_file=input_file,
        output_file=output_file,
        alias=alias,
        checkpoint=checkpoint,
        submission=submission,
        escape_formulas=escape_formulas,
    )


@models.command(rich_help_panel="Commands")
def export(
    pipeline: PipelineName,
    *,
    form: Annotated[Form, typer.Option("--format", metavar="saved_model|tflite", help="For a server or a device.")],
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to; by default below models/PIPELINE/export.")
    ] = None,
    alias: Annotated[
        str | None, typer.Option(help="Which registered model; without it, that of the last training.")
    ] = None,
) -> None:
    """Write a model, normalization inside, as a SavedModel or a TensorFlow Lite file."""
    from headrace.pipelines.commands.export_model import export as command

    command(*load(pipeline), form=form, output=output, alias=alias)


@models.command(rich_help_panel="Commands")
def generate(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="The first words of a text.")] = None,
    length: Annotated[int | None, typer.Option(min=1, help="How many tokens follow it: 400.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="How freely they are drawn: 0.8; at 0 always the most probable."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many images: 100.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where images go: a PNG file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    alias: Annotated[str, typer.Option(help="Which registered model.")] = "champion",
) -> None:
    """Write text with a registered model of next tokens, or a sheet of images with one that makes them."""
    from headrace.pipelines.commands.generate import GenerateOptions
    from headrace.pipelines.commands.generate import generate as command

    options = GenerateOptions(prompt, length, temperature, count, output)
    command(*load(pipeline), options, seed=seed, alias=alias)


@models.command("models", rich_help_panel="Commands")
def models_(
    pipeline: Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all.")] = None,
) -> None:
    """Show the registered versions, which is champion, and who made it that, when and why."""
    from headrace.pipelines.commands.models import show_models

    show_models(ProjectPaths(project_root()), pipeline)


@models.command(rich_help_panel="Commands")
def promote(
    pipeline: PipelineName,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; without it, the newest.")] = None,
) -> None:
    """Make a registered version champion, whatever its metrics are."""
    from headrace.pipelines.commands.champion import promote as command

    command(*load(pipeline), version=version)


@models.command(rich_help_panel="Commands")
def rollback(pipeline: PipelineName) -> None:
    """Make the champion before this one champion again."""
    from headrace.pipelines.commands.champion import rollback as command

    command(*load(pipeline))
