"""`headrace runs`: the command line of its two commands."""

from typing import Annotated

import typer

from headrace.pipelines.paths import ProjectPaths, project_root

runs = typer.Typer(no_args_is_help=True, help="MLflow's runs: list them, close those that nobody trains any more.")
AnyPipeline = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all pipelines.")]


@runs.command("list")
def list_runs_(
    pipeline: AnyPipeline = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
) -> None:
    """Show the newest runs and how they ended."""
    from headrace.pipelines.commands.runs import list_runs

    list_runs(ProjectPaths(project_root()), pipeline, limit=limit)


@runs.command("sweep")
def sweep_runs_(
    pipeline: AnyPipeline = None,
    *,
    unreachable_after_hours: Annotated[
        float, typer.Option(min=0, help="When a run whose owner can't be reached counts as lost.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
) -> None:
    """Close the runs that are RUNNING although nobody trains."""
    from headrace.pipelines.commands.runs import sweep_runs

    project = ProjectPaths(project_root())
    sweep_runs(project, pipeline, unreachable_after_hours=unreachable_after_hours, dry_run=dry_run)
