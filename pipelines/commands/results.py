"""`headrace results`: measure pipelines over several seeds or folds, and write what they reach to docs/results.md."""

from collections.abc import Sequence
from typing import Annotated

import typer

from headrace.components.files.atomic import replace_file
from headrace.pipelines.commands.arguments import WorkersOption
from headrace.pipelines.params import load_pipeline, load_pipelines
from headrace.pipelines.paths import ProjectPaths, project_root


def results(
    pipelines: Annotated[list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Without it, all.")] = None,
    *,
    workers: WorkersOption = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Measure nothing; write the page again.")] = False,
) -> None:
    """Measure pipelines over several seeds or folds, and write docs/results.md."""
    write_results(ProjectPaths(project_root()), pipelines or (), workers=workers, page_only=page_only)


def write_results(project: ProjectPaths, names: Sequence[str], *, workers: str | None, page_only: bool) -> None:
    """Measure the pipelines named, or all, and write docs/results.md with every pipeline that was ever measured.

    A pipeline is measured in a folder of its own below .headrace, from raw data on. The project's data, models, reports
    and MLflow runs stay as they are. Raises ParamsError for a name that is none before anything is measured.
    """
    from headrace.pipelines.commands.measurement.measured_runs import measure
    from headrace.pipelines.commands.measurement.results_page import write_page

    pipelines = load_pipelines(project.params)
    chosen = [load_pipeline(project.params, name) for name in names or pipelines]
    for pipeline in () if page_only else chosen:
        measured = measure(pipeline, project, workers=workers)
        with replace_file(project.results / f"{pipeline.name}.json") as file:
            file.write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_page(project, pipelines)  # after each: the next one may take hours
        typer.echo(f"{pipeline.name}: {len(measured.runs)} runs, in docs/results/{pipeline.name}.json")
    write_page(project, pipelines)
