"""`headrace shadow`: challenger and champion on the same rows."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import PipelineName, existing_path, load, writable_file


def shadow(
    pipeline: PipelineName,
    *,
    input_file: Annotated[
        Path,
        typer.Option(
            "--input", metavar="FILE", help="Raw rows or images, with or without labels.", callback=existing_path
        ),
    ],
    challenger: Annotated[
        str | None, typer.Option(metavar="VERSION|ALIAS", help="By default the newest version but the champion.")
    ] = None,
    champion: Annotated[
        str, typer.Option(metavar="VERSION|ALIAS", help="Which version it is compared with.")
    ] = "champion",
    output_file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Predictions of both, as Parquet.", callback=writable_file),
    ] = None,
) -> None:
    """Score challenger and champion on the same rows, and report the paired difference."""
    from headrace.pipelines.commands.inference.shadow_models import shadow_models

    settings, paths = load(pipeline)
    shadow_models(
        settings, paths, input_file=input_file, challenger=challenger, champion=champion, output_file=output_file
    )
