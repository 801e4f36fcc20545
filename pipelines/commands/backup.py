"""`headrace backup`: MLflow's store and artifacts in one file."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import writable_file
from headrace.pipelines.paths import project_root


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar archive.", callback=writable_file)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write what DVC does not hold to one file: MLflow's runs, registry and artifacts. A run may continue meanwhile."""
    from headrace.pipelines.tracking.backup import backup as write_backup

    made = write_backup(project_root(), file, force=force)
    versions = ", ".join(f"{name} up to version {number}" for name, number in made.seen.versions.items())
    size = f"{len(made.files)} files, {made.size_bytes / 2**20:.1f} MiB"
    typer.echo(f"{file}: {size}; {versions or 'no registered model yet'}")
