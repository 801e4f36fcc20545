"""`headrace verify`: whether DVC's cache and remote still hold what was written."""

from typing import Annotated

import typer

from headrace.pipelines.commands.arguments import PipelineOrAll
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import ProjectPaths, project_root


def verify(
    pipeline: PipelineOrAll = None,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Replace what is damaged by a good copy, if there is one.")
    ] = False,
) -> None:
    """Read and hash everything that dvc.lock names, in DVC's cache and remote, and name what is damaged."""
    project = ProjectPaths(project_root())
    if pipeline is not None:
        load_pipeline(project.params, pipeline)
    raise typer.Exit(show_verification(project, pipeline, fix=fix))


def show_verification(project: ProjectPaths, pipeline: str | None, *, fix: bool) -> int:
    """Print what is damaged, and return 1 if some of it stays so, else 0."""
    from headrace.pipelines.project.object_digests import verify as verify_objects

    report = verify_objects(project.root, pipeline=pipeline, fix=fix)
    for damage in report.damages:
        typer.echo(str(damage))
    for store, count in report.whole.items():
        note = ": nothing was pushed yet, or it can't be reached" if report.objects and not count else ""
        typer.echo(f"{count} of {report.objects} objects are whole in the {store}{note}")
    if report.is_well:
        return 0
    stages = " ".join(sorted({damage.kept.stage for damage in report.damages if not damage.is_fixed}))
    without_copy = f"no good copy was found; to make them again: dvc repro --force {stages}"
    typer.echo(without_copy if fix else "headrace verify --fix replaces them by good copies", err=True)
    return 1
