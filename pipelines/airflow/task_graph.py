"""What DAG files are made from: the pipelines of params.yaml, each with its graph from dvc.yaml."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]  # its stub file lacks three of them
    AsyncCallback,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
)

from headrace.pipelines.airflow.form import run_params
from headrace.pipelines.airflow.notify import dag_callbacks, remember_failure
from headrace.pipelines.airflow.retry_policy import RetryByCause
from headrace.pipelines.params import Pipeline, list_pipelines, pipeline_loader
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.stage_graph import StageGraph, stage_graph
from headrace.pipelines.schedule import Schedule

RETRY_DELAY = timedelta(minutes=1)  # where the cause of a failure says nothing else, such as after a lost worker


def names_of(root: Path, dag_id: str | None) -> tuple[str, ...]:
    """The pipelines that a DAG may be of: all where Airflow asks for all, the one that a task belongs to elsewhere."""
    names = list_pipelines(ProjectPaths(root).params)
    return names if dag_id is None else tuple(name for name in names if dag_id in dags_of(name))


def dag_of(pipeline: str) -> str:
    """Id of the DAG of a pipeline's stages."""
    return f"headrace_{pipeline}"


def predictions_of(pipeline: str) -> str:
    """Id of the DAG of a pipeline's predictions."""
    return f"headrace_{pipeline}_predict"


def monitoring_of(pipeline: str) -> str:
    """Id of the DAG that monitors a pipeline's predictions."""
    return f"headrace_{pipeline}_monitor"


def dags_of(pipeline: str) -> tuple[str, ...]:
    """Ids of all DAGs that a pipeline may have."""
    return dag_of(pipeline), predictions_of(pipeline), monitoring_of(pipeline)


def pipeline_with_graph_loader(root: Path) -> Callable[[str], tuple[Pipeline, StageGraph]]:
    """Loads a pipeline by name, with its stages, each with the stages that it waits for.

    Reads params.yaml once, however many pipelines are loaded. The loader raises ParamsError for what is wrong in the
    pipeline's section or in dvc.yaml.
    """
    project = ProjectPaths(root)
    load = pipeline_loader(project.params)
    return lambda name: (load(name), stage_graph(project.dvc, name))


def dag_settings(pipeline: Pipeline) -> dict[str, Any]:
    """Keyword arguments of a pipeline's `DAG`: its section `schedule`, and the trigger form."""
    schedule = pipeline.schedule
    return {
        "description": pipeline.description,
        # A cron text alone gives runs whose data interval is empty.
        "schedule": cron_schedule(schedule.cron, timezone=schedule.timezone),
        "start_date": schedule.start,
        "catchup": schedule.catchup,
        "max_active_runs": schedule.max_active_runs,
        "params": run_params(pipeline),
        "tags": ["headrace", *schedule.tags],
        "default_args": {
            "owner": schedule.owner,
            "retries": schedule.retries,
            "retry_delay": RETRY_DELAY,
            "retry_policy": RetryByCause(),
            "on_failure_callback": remember_failure,
        },
        **_deadline(schedule),
        **dag_callbacks(schedule.alerts),
    }


def cron_schedule(cron: str | None, *, timezone: str) -> CronDataIntervalTimetable | None:
    """Airflow's schedule of a cron text; None for manual runs only."""
    return CronDataIntervalTimetable(cron, timezone=timezone) if cron else None


def _deadline(schedule: Schedule) -> dict[str, Any]:
    if schedule.deadline_hours is None:
        return {}
    notify = AsyncCallback(
        "headrace.pipelines.airflow.notify.notify_late", kwargs={"alerts": schedule.alerts.model_dump()}
    )
    interval = timedelta(hours=schedule.deadline_hours)
    return {"deadline": DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=interval, callback=notify)}
