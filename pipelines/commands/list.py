"""`headrace list`: the pipelines, and which of their stages are up to date."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.pipelines.params import list_pipelines, load_pipeline
from headrace.pipelines.paths import ProjectPaths, project_root
from headrace.pipelines.project import dvc

if TYPE_CHECKING:
    from headrace.pipelines.project.stage_graph import StageGraph

PLAIN_WIDTH = 200


def list_() -> None:
    """Show the pipelines, and which of their stages are up to date."""
    from headrace.pipelines.project.stage_graph import dvc_target, stage_graph

    project = ProjectPaths(project_root())
    # Before DVC reads the same file: what it says of a mistake in it names neither place nor fix.
    descriptions = {name: load_pipeline(project.params, name).description for name in list_pipelines(project.params)}
    changed = dvc.status(project.root)
    graphs = {name: stage_graph(project.dvc, name) for name in descriptions}
    table = Table(box=None, pad_edge=False)
    table.add_column("pipeline", no_wrap=True)
    columns = list(dict.fromkeys(stage for graph in graphs.values() for stage in graph))
    for stage in columns:
        table.add_column(stage, no_wrap=True)
    table.add_column("description")
    for name, graph in graphs.items():
        targets = {stage: dvc_target(project.dvc, stage, pipeline=name) for stage in graph}
        fresh = fresh_stages(graph, {stage for stage, target in targets.items() if target in changed})
        cells = {stage: Text("fresh", "green") if stage in fresh else Text("stale", "dim") for stage in graph}
        table.add_row(name, *(cells.get(stage, "") for stage in columns), descriptions[name])
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)


def fresh_stages(graph: "StageGraph", changed: set[str]) -> set[str]:
    """Stages that would not run: unchanged, as are all that they wait for."""
    fresh: set[str] = set()
    for stage, upstream in graph.items():  # in an order in which they can run
        if stage not in changed and fresh.issuperset(upstream):
            fresh.add(stage)
    return fresh
