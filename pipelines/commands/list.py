"""`headrace list`: the pipelines, their metric, champion and date, and which of their stages are up to date."""

import sys
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import DataError, UserError
from headrace.pipelines.params import Pipeline, load_pipelines
from headrace.pipelines.paths import PipelinePaths, ProjectPaths, project_root

if TYPE_CHECKING:
    from headrace.pipelines.project.stage_graph import StageGraph

PLAIN_WIDTH = 200
NEVER_RUN = "never run"


class PipelineState(NamedTuple):
    """What a row says of a pipeline beside its stages; "" for what there is not yet."""

    metric: str
    champion: str
    date: str


def list_() -> None:
    """Show the pipelines, their metric, champion and date, and which of their stages are up to date."""
    from headrace.pipelines.project.stage_graph import dvc_target, stage_graph
    from headrace.pipelines.project.up_to_date import stale_targets

    project = ProjectPaths(project_root())
    # Before DVC reads the same file: what it says of a mistake in it names neither place nor fix.
    pipelines = load_pipelines(project.params)
    stale = stale_targets(project, pipelines)
    graphs = {name: stage_graph(project.dvc, name) for name in pipelines}
    table = Table(box=None, pad_edge=False)
    columns = list(dict.fromkeys(stage for graph in graphs.values() for stage in graph))
    for column in ("pipeline", *columns, *PipelineState._fields):
        table.add_column(column, no_wrap=True)
    table.add_column("description")
    for name, graph in graphs.items():
        pipeline = pipelines[name]
        state = state_of(pipeline, project.of(name))
        targets = {stage: dvc_target(project.dvc, stage, pipeline=name) for stage in graph}
        fresh = fresh_stages(graph, {stage for stage, target in targets.items() if target in stale})
        if state is None and not fresh:
            table.add_row(name, Text(NEVER_RUN, "dim"), *[""] * (len(columns) + 2), pipeline.description)
            continue
        cells = {stage: Text("fresh", "green") if stage in fresh else Text("stale", "dim") for stage in graph}
        stages = [cells.get(stage, "") for stage in columns]
        table.add_row(name, *stages, *(state or PipelineState("", "", "")), pipeline.description)
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)


def state_of(pipeline: Pipeline, paths: PipelinePaths) -> PipelineState | None:
    """What its files and the registry say; None for a pipeline of which there is no file."""
    if not any(file.exists() for file in (paths.examples, paths.ingest_metrics, paths.run, paths.metrics)):
        return None
    return PipelineState(_metric(pipeline, paths), _champion(paths), _date(paths))


def _metric(pipeline: Pipeline, paths: PipelinePaths) -> str:
    """The metric that register compares by, as it was measured last."""
    from headrace.pipelines.artifacts.metrics_record import read_metrics

    name = pipeline.register_.compare.metric
    try:
        value = read_metrics(paths).metrics.get(name) if paths.metrics.is_file() else None
    except DataError:
        return "unreadable"
    return "" if value is None else f"{name} {value:.4g}"


def _champion(paths: PipelinePaths) -> str:
    """Version of the champion, as the registry has it now; it is read only where something was registered."""
    if not paths.registration.is_file():
        return ""
    from headrace.pipelines.tracking.champion_notes import champions
    from headrace.pipelines.tracking.server import database_of

    database = database_of(paths.root)
    if database is not None and not database.is_file():  # a connection would make it
        return "unknown"
    try:
        number = champions(paths.root).get(paths.pipeline)
    except UserError:
        return "unknown"
    return "none" if number is None else f"version {number}"


def _date(paths: PipelinePaths) -> str:
    """Day of the training that the present model comes from, in UTC."""
    from headrace.pipelines.artifacts.run_record import read_run

    try:
        return f"{read_run(paths).trained_at:%Y-%m-%d}" if paths.run.is_file() else ""
    except DataError:
        return "unreadable"


def fresh_stages(graph: "StageGraph", changed: set[str]) -> set[str]:
    """Stages that would not run: unchanged, as are all that they wait for."""
    fresh: set[str] = set()
    for stage, upstream in graph.items():  # in an order in which they can run
        if stage not in changed and fresh.issuperset(upstream):
            fresh.add(stage)
    return fresh
