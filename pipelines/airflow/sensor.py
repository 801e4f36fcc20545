"""Waits for data: a DAG run whose source is partitions begins once those of its interval have arrived."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from headrace.components.errors import DataError, ServiceError
from headrace.components.sources.table_source import TableSource
from headrace.pipelines.airflow.dag_run import changes_of
from headrace.pipelines.fetching.landed_partitions import are_there, find_partitions
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.edit_params import with_values

POKE_SECONDS = 60.0


def data_sensors(pipeline: Pipeline, root: Path) -> list["PartitionSensor"]:
    """Tasks that `ingest` waits for: a sensor where the source has partitions, else none."""
    source = pipeline.ingest.source
    if not (isinstance(source, TableSource) and source.partitions):
        return []
    seconds = pipeline.schedule.partition_timeout_hours * 3600
    return [PartitionSensor(task_id="wait_for_data", pipeline=pipeline.name, root=root, timeout=seconds)]


class PartitionSensor(BaseSensorOperator):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """Waits until the partitions of the run's data interval are there, each with its `success_file` if it has one.

    Between two polls it takes no worker's place. Storage that is away is waited for as late data is.
    """

    def __init__(self, *, pipeline: str, root: Path, poke_interval: float = POKE_SECONDS, **options: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=poke_interval, **options)
        self.pipeline = pipeline
        self.root = os.fspath(root)  # text, because tasks are kept as JSON

    def poke(self, context: Any) -> bool:
        """Whether all is there; raise ParamsError for parameters of the run that are not allowed."""
        source = self._source(context)
        try:
            return are_there(source.partitions, source.interval)
        except ServiceError as error:
            self.log.warning("%s; polling again in %.0f s", error, self.poke_interval)
            return False

    def execute(self, context: Any) -> Any:
        """Wait; raise AirflowSensorTimeout that says what was waited for, and how to continue."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(self._explain(context)) from error

    def _explain(self, context: Any) -> str:
        source = self._source(context)
        since = context["ti"].get_first_reschedule_date(context) or datetime.now(UTC)
        try:
            find_partitions(source.partitions, source.interval)
            reason = f"{source.partitions.root}: the data has arrived at the last moment"
        except (DataError, ServiceError) as error:
            reason = str(error)
        waited = f"waited since {since.isoformat(timespec='seconds')}, {self.timeout / 3600:g} h"
        return f"{reason} ({waited}). {self._next_step(context, source)}"

    def _next_step(self, context: Any, source: TableSource) -> str:
        if not source.interval:
            return "When it has arrived, clear this task"
        day = source.interval.start.isoformat()  # Airflow names a run by the start of its interval
        return (
            f"When it has arrived, clear this task, or: airflow backfill create --dag-id {context['ti'].dag_id} "
            f"--from-date {day} --to-date {day} --reprocess-behavior failed"
        )

    def _source(self, context: Any) -> Any:
        """The source as this run has it.

        From the project and not from a workspace, which would bind the run to a commit before it begins.
        """
        root = Path(self.root)
        pipeline = load_pipeline(ProjectPaths(root).params, self.pipeline)
        return with_values(pipeline, changes_of(pipeline, context, root=root)).ingest.source
