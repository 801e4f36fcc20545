"""`headrace runs`: what MLflow has of each training, and no run stays RUNNING that nobody trains any more."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.paths import ProjectPaths, project_root

if TYPE_CHECKING:
    from mlflow.entities import Run

    from headrace.pipelines.ray_jobs.jobs import Cluster
    from headrace.pipelines.tracking.sweep import JobState, Verdict

PLAIN_WIDTH = 200
RAY_SECONDS = 10.0
STYLES = {"FINISHED": "green", "RUNNING": "bold cyan", "FAILED": "bold red", "KILLED": "yellow"}

AnyPipeline = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all pipelines.")]

runs = typer.Typer(no_args_is_help=True, help="MLflow's runs: list them, close those that nobody trains any more.")


@runs.command("list")
def list_(
    pipeline: AnyPipeline = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
) -> None:
    """Show the newest runs and how they ended."""
    list_runs(ProjectPaths(project_root()), pipeline, limit=limit)


@runs.command()
def sweep(
    pipeline: AnyPipeline = None,
    *,
    unreachable_after_hours: Annotated[
        float, typer.Option(min=0, help="When a run whose owner can't be reached counts as lost.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
) -> None:
    """Close the runs that are RUNNING although nobody trains."""
    project = ProjectPaths(project_root())
    sweep_runs(project, pipeline, unreachable_after_hours=unreachable_after_hours, dry_run=dry_run)


def sweep_runs(project: ProjectPaths, pipeline: str | None, *, unreachable_after_hours: float, dry_run: bool) -> None:
    """Close the runs that nobody trains any more, and print a table of all that were RUNNING."""
    from headrace.pipelines.tracking.sweep import sweep as close_lost_runs
    from headrace.pipelines.tracking.sweep_models import sweep_models
    from headrace.pipelines.tracking.training_run import deliver

    if not dry_run:
        deliver(project.root)  # what earlier trainings could not send to MLflow is truer than what is found out here
    verdicts = close_lost_runs(
        project.root,
        status_of=job_state,
        pipeline=pipeline,
        unreachable_after_hours=unreachable_after_hours,
        dry_run=dry_run,
    )
    console = _console()
    if verdicts:
        console.print(_swept(verdicts))
    for model in sweep_models(project.root, unreachable_after_hours=unreachable_after_hours, dry_run=dry_run):
        done = "would be removed" if dry_run else "removed"
        console.print(
            f"model {model.model_id} of {model.name}, never registered: {done}, {model.reason}",
            markup=False,
            highlight=False,
        )
    closed = sum(verdict.status is not None for verdict in verdicts)
    done = "would be closed" if dry_run else "closed"
    console.print(f"{closed} {done}, {len(verdicts) - closed} left RUNNING", highlight=False)


def list_runs(project: ProjectPaths, pipeline: str | None, *, limit: int = 30) -> None:
    """Print a table of the newest runs: status, since when, how long, on what, and why it ended so."""
    from headrace.pipelines.tracking.sweep import find_runs

    table = _table("run", "status", "started", "took", "where", "reason")
    for run in find_runs(project.root, pipeline, limit=limit):
        table.add_row(
            Text(str(run.info.run_name)),
            _status(run.info.status),
            f"{_time(run.info.start_time).astimezone():%Y-%m-%d %H:%M}",
            _took(run),
            Text(_where(run.data.tags)),
            Text(run.data.tags.get("headrace.reason", "")),  # not text alone: what is in [] would be markup
        )
    _console().print(table if table.row_count else "no runs")


def job_state(address: str, submission_id: str) -> "JobState | None":
    """State of a job by the cluster at `address`; None if it has none of that id. Raises ServiceError if it is away.

    The token goes only to the cluster that RAY_ADDRESS names: anybody who may write to MLflow may write an address.
    """
    from headrace.pipelines.ray_jobs.jobs import RayJobs, last_error
    from headrace.pipelines.tracking.sweep import JobState

    async def query() -> JobState | None:
        async with RayJobs(_cluster(address), timeout_seconds=RAY_SECONDS) as jobs:
            job = await jobs.find(submission_id)
        return None if job is None else JobState(job.status, last_error(job.message))

    try:
        return asyncio.run(query())
    except ParamsError as error:
        raise ServiceError(str(error)) from error


def _cluster(address: str) -> "Cluster":
    from headrace.pipelines.ray_jobs.jobs import Cluster, cluster_from_environment

    is_ours = os.environ.get("RAY_ADDRESS", "").rstrip("/") == address.rstrip("/")
    return cluster_from_environment() if is_ours else Cluster(address)


def _swept(verdicts: Sequence["Verdict"]) -> Table:
    table = _table("run", "becomes", "why")
    for verdict in verdicts:
        table.add_row(Text(verdict.run_name), _status(verdict.status or "RUNNING"), Text(verdict.reason))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column not in ("where", "why", "reason"), overflow="fold")
    return table


def _status(status: str) -> Text:
    return Text(status, style=STYLES.get(status, ""))


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _took(run: "Run") -> str:
    end = _time(run.info.end_time) if run.info.end_time else datetime.now(tz=UTC)
    return str(timedelta(seconds=round((end - _time(run.info.start_time)).total_seconds())))


def _where(tags: Mapping[str, str]) -> str:
    """The Ray job or machine, and the DAG run."""
    from headrace.pipelines.tracking.sweep import HOST_TAG, JOB_TAG

    job, host = tags.get(JOB_TAG), tags.get(HOST_TAG)
    dag_run = tags.get("headrace.dag_run")
    return ", ".join(part for part in (f"Ray job {job}" if job else host, dag_run) if part)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
