"""A stage of dvc.yaml as an Airflow task, in the workspace of its DAG run; training may be a job on a Ray cluster."""

import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from headrace.components.redaction import redacted
from headrace.pipelines.airflow.assets import publish_events
from headrace.pipelines.airflow.connection import allows_open, find_cluster
from headrace.pipelines.airflow.dag_run import DagRun
from headrace.pipelines.airflow.lineage_events import Files, operator_lineage, read_and_written
from headrace.pipelines.airflow.links import MlflowLink, RayLink, ReportLink, mlflow_address
from headrace.pipelines.airflow.notify import SLOW_KEY
from headrace.pipelines.airflow.ray_job import RayTask
from headrace.pipelines.airflow.retry_policy import StageFailed, stage_failed
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.host.processes import end_session
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.stage_graph import dvc_target, lost_outputs
from headrace.pipelines.ray_jobs.submit import Submitted
from headrace.pipelines.ray_jobs.watch import Outcome

KEPT_LINES = 200
HANDED_OVER = "exited with 76"  # DVC's word on a stage that only submitted its job


def stage_task(stage: str, *, pipeline: str, root: Path, **options: Any) -> BaseOperator:
    """Create the task of one stage. The one place that decides how a stage runs."""
    operator = TrainOperator if stage == "train" else StageOperator
    return operator(task_id=stage, stage=stage, pipeline=pipeline, root=root, **options)


class StageOperator(BaseOperator):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """Runs `dvc repro --single-item STAGE@PIPELINE` in the workspace, its output in the task's log.

    What the stage has made is then kept: pushed to DVC's remote, and saved as an experiment named after the DAG run.
    A kill ends all that was started.
    """

    operator_extra_links = (MlflowLink(), ReportLink())

    def __init__(self, *, stage: str, pipeline: str, root: Path, **options: Any) -> None:
        super().__init__(**options)
        self.stage, self.pipeline = stage, pipeline
        self.root = os.fspath(root)  # text, because tasks are kept as JSON
        self.mlflow_url: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._read_and_written: tuple[str, Files, Files] | None = None

    def execute(self, context: Any) -> Any:
        """Run the stage where it is out of date; raise StageFailed, by its cause, where that fails."""
        with self._run(context) as run:
            self._repro(run, run.connections(self.pipeline) if self.stage == "ingest" else {})
            return self._keep(context, run)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's name for it
        """What the stage read and wrote. Only OpenLineage's listener calls it, where it is installed and configured."""
        return None if self._read_and_written is None else operator_lineage(*self._read_and_written)

    def on_kill(self) -> None:
        """End the stage, and all that it has started."""
        if self._process is not None:
            end_session(self._process.pid, on_poll=self._process.poll)

    def _repro(self, run: DagRun, environment: Mapping[str, str]) -> bool:
        """Whether the stage is up to date; False where it has handed over to a job."""
        target = dvc_target(ProjectPaths(run.workspace).dvc, self.stage, pipeline=self.pipeline)
        lines: deque[str] = deque(maxlen=KEPT_LINES)
        given = {**run.environment, **environment}
        is_lost = bool(lost_outputs(run.workspace, self.stage, pipeline=self.pipeline))
        with dvc.repro(
            run.workspace, target, pipeline=self.pipeline, single_item=True, pull=True, force=is_lost, extra=given
        ) as self._process:
            for line in filter(None, (redacted(line.rstrip()) for line in self._process.stdout or ())):
                lines.append(line)
                if HANDED_OVER not in line:
                    self.log.info("%s", line)
            exit_code = self._process.wait()
        if lines and HANDED_OVER in lines[-1]:
            return False
        if exit_code != 0:
            raise stage_failed(target, output=lines, exit_code=exit_code)
        return True

    def _keep(self, context: Any, run: DagRun) -> dict[str, Any]:
        self.mlflow_url = mlflow_address(run.workspace, self.pipeline)
        kept = run.keep()
        self._read_and_written = read_and_written(run.workspace, self.stage, pipeline=self.pipeline)
        publish_events(context, run.workspace, stage=self.stage, pipeline=self.pipeline, kept=kept)
        if slow_worker := self._slow_worker(context, run):
            context["ti"].xcom_push(key=SLOW_KEY, value=slow_worker)
        return kept

    def _slow_worker(self, context: Any, run: DagRun) -> str | None:
        """The worker that made the others wait in the training of this very run, for its notification."""
        paths = PipelinePaths(run.workspace, self.pipeline)
        if self.stage != "train" or not paths.run.is_file():
            return None
        found = read_run(paths)
        owner = f"{context['ti'].dag_id}/{context['ti'].run_id}"
        return found.slow_worker if found.owner == owner else None

    def _run(self, context: Any) -> AbstractContextManager[DagRun]:
        return DagRun.of(context, root=Path(self.root), pipeline=self.pipeline, stage=self.stage)


class TrainOperator(RayTask, StageOperator):
    """The same for training: where there is a Ray connection, the training is a job on that cluster.

    The task is deferred while the job runs, so it takes no worker's place. A retry, or a task that is cleared, joins
    the job that is under way, or starts the next one from its last checkpoint. Ending the task stops the job.
    """

    operator_extra_links = (RayLink(), MlflowLink())

    def execute(self, context: Any) -> Any:
        """Submit the training, or join it, and follow it; train in this process where there is no cluster."""
        cluster = find_cluster(self.ray_conn_id)
        if cluster is None:
            return super().execute(context)
        with self._run(context) as run:
            submitted = self._submit(run)
        if submitted is not None:
            outcome = self.follow(context, submitted.submission_id, cluster=cluster, is_ours=submitted.is_ours)
            self._succeed(context, outcome)
        return self._fetch_results(context)

    def resume(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Fetch the results of a job that is over; raise StageFailed, by its cause, where it has none."""
        self._succeed(context, Outcome.model_validate(event))
        return self._fetch_results(context)

    def _submit(self, run: DagRun) -> Submitted | None:
        """The job that trains; None where the model is up to date."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "submitted.json"
            if self._repro(run, {**self._reach(), "HEADRACE_SUBMITTED": str(file)}):
                return None
            return Submitted.model_validate_json(file.read_text(encoding="utf-8"))

    def _fetch_results(self, context: Any) -> Any:
        with self._run(context) as run:
            self._repro(run, self._reach())
            return self._keep(context, run)

    def _reach(self) -> dict[str, str]:
        """The environment by which the stage reaches the cluster."""
        cluster = find_cluster(self.ray_conn_id)
        if cluster is None:
            return {}
        verify = {"HEADRACE_RAY_CA": cluster.verify} if isinstance(cluster.verify, str) else {}
        token = {"RAY_AUTH_TOKEN": cluster.token} if cluster.token else {}
        is_open = {"HEADRACE_ALLOW_OPEN_RAY": "1"} if allows_open(self.ray_conn_id) else {}
        return {"RAY_ADDRESS": cluster.address, **verify, **token, **is_open}

    def _succeed(self, context: Any, outcome: Outcome) -> None:
        try:
            self.succeed(outcome)
        except StageFailed:
            with self._run(context) as run:  # the job may have died without a word to MLflow
                run.sweep(self.pipeline, self._reach())
            raise
