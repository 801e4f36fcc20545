"""`headrace verify`: whether DVC's cache and remote still hold what was written."""

import typer

from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.object_digests import verify


def show_verification(project: ProjectPaths, pipeline: str | None, *, fix: bool) -> int:
    """Print what is damaged, and return 1 if some of it stays so, else 0."""
    report = verify(project.root, pipeline=pipeline, fix=fix)
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
