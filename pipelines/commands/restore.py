"""`headrace restore`: what `headrace backup` wrote, put back."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import existing_file
from headrace.pipelines.paths import project_root


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar archive.", callback=existing_file)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there; it is kept aside.")] = False,
) -> None:
    """Put back what `headrace backup` wrote, once all of it has proved whole."""
    from headrace.pipelines.tracking.backup import restore as restore_backup

    restored, replaced = restore_backup(project_root(), file, force=force)
    aside = f"; what was there is in {replaced}" if replaced else ""
    typer.echo(f"restored {len(restored.files)} files of {restored.made}{aside}")
