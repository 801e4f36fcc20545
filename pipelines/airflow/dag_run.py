"""One run of a pipeline's DAG: its workspace, its parameters, and what it has made."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.components.sources.sql.address import variable_of
from headrace.components.sources.sql.source import SqlSource
from headrace.pipelines.airflow.connection import find_database
from headrace.pipelines.airflow.form import overrides_of
from headrace.pipelines.airflow.tracing import trace_of
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.stage_graph import missing_inputs
from headrace.pipelines.project.workspace import (
    commit_of,
    committed_pipeline,
    finish,
    open_workspace,
    override_params,
    remove_old_workspaces,
    restore,
    using,
    variables_of,
)

WORKSPACES_VARIABLE = "HEADRACE_WORKSPACES"
REPOSITORY_VARIABLE = "HEADRACE_REPOSITORY"
SWEEP_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class DagRun:
    """The folder in which the stages of one run work, and the environment variables that they receive."""

    workspace: Path
    environment: Mapping[str, str]

    @classmethod
    @contextmanager
    def of(cls, context: Any, *, root: Path, pipeline: str, stage: str) -> Iterator["DagRun"]:
        """Yield the run of a task's context, with its parameters in place and the outputs of the tasks before it.

        Raises ParamsError for parameters that are unknown or out of range, before any work.
        """
        owner = f"{context['ti'].dag_id}/{context['ti'].run_id}"
        project = os.environ.get(REPOSITORY_VARIABLE) or root
        workspace = open_workspace(project, workspaces(root), name=owner, revision=_commit(context))
        with using(workspace):
            committed = committed_pipeline(workspace, pipeline)
            requested = overrides_of(committed, context["params"], context["dag_run"].conf or {})
            override_params(workspace, pipeline, requested, interval=_interval(committed, context, workspace))
            missing = missing_inputs(workspace, stage, pipeline=pipeline)
            restore(workspace, missing)
            yield cls(workspace, {**variables_of(workspace), "HEADRACE_OWNER": owner, **trace_of(owner)})

    def connections(self, pipeline: str) -> dict[str, str]:
        """Environment variables with the address of the database that a pipeline's query needs, if Airflow has it."""
        source = committed_pipeline(self.workspace, pipeline).ingest.source
        address = find_database(source.connection) if isinstance(source, SqlSource) else None
        return {variable_of(source.connection): address} if isinstance(source, SqlSource) and address else {}

    def keep(self) -> dict[str, str]:
        """Save what the run has made so far; return by what it is found again: commit and experiment."""
        return {"experiment": finish(self.workspace), "commit": commit_of(self.workspace)}

    def sweep(self, pipeline: str, environment: Mapping[str, str]) -> None:
        """Give MLflow runs their status whose jobs are over; what can't be done now, the next sweep does."""
        command = [sys.executable, "-P", "-m", "headrace", "runs", "sweep", pipeline]
        given = {**dvc.environment(), **self.environment, **environment}
        subprocess.run(command, cwd=self.workspace, env=given, check=False, timeout=SWEEP_TIMEOUT_SECONDS)


def remove_unused_workspaces(root: Path, *, older_than_days: float) -> list[str]:
    """Remove workspaces that no task has used for so long, and return their names."""
    return [folder.name for folder in remove_old_workspaces(workspaces(root), older_than_days=older_than_days)]


def changes_of(pipeline: Pipeline, context: Any, *, root: Path) -> dict[str, Any]:
    """Changes of params.yaml for this run, by place: its data interval, and the values of its form.

    As parameters, and not as environment, because DVC must see them: each interval is a data set of its own.
    """
    requested = overrides_of(pipeline, context["params"], context["dag_run"].conf or {})
    return {**_interval(pipeline, context, root), **requested}


def workspaces(root: Path) -> Path:
    """The folder of all workspaces: HEADRACE_WORKSPACES, else one in the project."""
    return Path(os.environ.get(WORKSPACES_VARIABLE) or ProjectPaths(root).workspaces)


def _commit(context: Any) -> str | None:
    """The commit that the tasks before this one have worked on, perhaps on another machine."""
    before = sorted(context["ti"].task.upstream_task_ids)
    said = context["ti"].xcom_pull(task_ids=before) if before else []
    return next((str(one["commit"]) for one in said or [] if isinstance(one, dict) and "commit" in one), None)


def _interval(pipeline: Pipeline, context: Any, root: Path) -> dict[str, str]:
    """The run's data interval for a source that reads one; a run made by hand may have none, or an empty one."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if not start or not end or start == end or not pipeline.ingest.source.is_by_interval(root):
        return {}
    return {"ingest.source.interval.start": start.isoformat(), "ingest.source.interval.end": end.isoformat()}
