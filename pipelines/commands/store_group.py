"""The command line of what keeps data, models and registry from being lost."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.pipelines.paths import ProjectPaths, project_root

store = typer.Typer()

BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="A tar archive.")]


@store.command(rich_help_panel="Commands")
def backup(
    file: BackupFile,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write what DVC does not hold into one file: MLflow's runs, registry and artifacts. A run may go on meanwhile."""
    from headrace.pipelines.tracking.backup import backup as command

    made = command(ProjectPaths(project_root()).root, file, force=force)
    versions = ", ".join(f"{name} up to version {number}" for name, number in made.seen.versions.items())
    size = f"{len(made.files)} files, {made.size_bytes / 2**20:.1f} MiB"
    typer.echo(f"{file}: {size}; {versions or 'no registered model yet'}")


@store.command(rich_help_panel="Commands")
def restore(
    file: BackupFile,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there; it is kept aside.")] = False,
) -> None:
    """Put back what `headrace backup` wrote, once all of it has proved whole."""
    from headrace.pipelines.tracking.backup import restore as command

    restored, replaced = command(ProjectPaths(project_root()).root, file, force=force)
    aside = f"; what was there is in {replaced}" if replaced else ""
    typer.echo(f"restored {len(restored.files)} files of {restored.made}{aside}")


@store.command(rich_help_panel="Commands")
def verify(
    pipeline: Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all.")] = None,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Replace what is damaged by a good copy, if there is one.")
    ] = False,
) -> None:
    """Read and hash everything that dvc.lock names, in DVC's cache and remote, and name what is damaged."""
    from headrace.pipelines.commands.verify import show_verification
    from headrace.pipelines.params import load_pipeline

    project = ProjectPaths(project_root())
    if pipeline is not None:
        load_pipeline(project.params, pipeline)
    raise typer.Exit(show_verification(project, pipeline, fix=fix))
