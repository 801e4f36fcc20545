"""`headrace new`: a pipeline for a data set of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.paths import ProjectPaths, project_root


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the pipeline is to be called.")],
    *,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="A table: CSV, TSV, also compressed.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="The table's column to predict; again for more.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images, in a folder for each class.")] = None,
    idx: Annotated[Path | None, typer.Option(metavar="DIR", help="Pairs of idx files, as MNIST's are.")] = None,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="A text, to predict its next characters.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the section.")] = False,
) -> None:
    """Inspect a data set, print what it seems to be, and add a pipeline for it to params.yaml."""
    from headrace.pipelines.commands.new_pipeline.add_pipeline import add_pipeline
    from headrace.pipelines.commands.new_pipeline.inspect_data import Data

    data = Data(csv, tuple(target or ()), images, idx, text)
    add_pipeline(ProjectPaths(project_root()), name, data, dry_run=dry_run)
