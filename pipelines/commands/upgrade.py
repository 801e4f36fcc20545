"""`headrace upgrade`: headrace.lock as it is installed, and what follows for results that are there."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.components.numerics import HISTORY
from headrace.pipelines.commands.arguments import existing_file
from headrace.pipelines.headrace_lock import Differences, write_lock
from headrace.pipelines.params import list_pipelines
from headrace.pipelines.paths import ProjectPaths, project_root
from headrace.pipelines.yaml_dialect import read_yaml_file


def upgrade(
    requirements: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Take versions from a file of name==version lines.", callback=existing_file
        ),
    ] = None,
) -> None:
    """Write headrace.lock from what is installed, and show which stages become stale, and why."""
    upgrade_lock(ProjectPaths(project_root()), requirements)


def upgrade_lock(project: ProjectPaths, requirements: Path | None) -> None:
    """Write headrace.lock and print what has changed in it, and the stages that run again because of that."""
    changes = write_lock(project.root, requirements)
    if not changes:
        typer.echo(f"{project.lock.name} holds what is installed; nothing becomes stale")
        return
    for stage, differences in changes.items():
        for line in _described(stage, differences):
            typer.echo(f"{stage}: {line}")
    stale = {name: _stale(project, name, set(changes)) for name in list_pipelines(project.params)}
    for pipeline, stages in stale.items():
        if stages:
            typer.echo(f"stale in {pipeline}: {', '.join(stages)}")
    if not any(stale.values()):
        typer.echo("no pipeline has results that become stale")


def _described(stage: str, differences: Differences) -> list[str]:
    lines = []
    for name, (before, after) in differences.items():
        line = f"{name} {after}" if before is None else f"{name} {before} -> {'none' if after is None else after}"
        if name == "numerics" and isinstance(before, int) and isinstance(after, int):
            line = "; ".join([line, *HISTORY[stage][before:after]])
        lines.append(line)
    return lines


def _stale(project: ProjectPaths, pipeline: str, changed: set[str]) -> list[str]:
    """The stages of a pipeline that have run and run again: those that changed, and all after them."""
    from headrace.pipelines.project.stage_graph import dvc_target, stage_graph

    graph, has_run = stage_graph(project.dvc, pipeline), _stages_that_ran(project)
    found: set[str] = set()
    for stage, upstream in graph.items():  # in an order in which they can run
        if stage in changed or found.intersection(upstream):
            found.add(stage)
    return [name for name in graph if name in found and dvc_target(project.dvc, name, pipeline=pipeline) in has_run]


def _stages_that_ran(project: ProjectPaths) -> set[str]:
    content = read_yaml_file(project.dvc_lock) if project.dvc_lock.is_file() else None
    stages = content.get("stages") if isinstance(content, dict) else None
    return set(stages) if isinstance(stages, dict) else set()
