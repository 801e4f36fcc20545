"""A Ray job as an Airflow task: one job for all attempts of the task, stopped where the task is ended."""

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from headrace.pipelines.airflow.connection import DEFAULT_CONNECTION, allows_open, find_cluster
from headrace.pipelines.airflow.links import RayLink
from headrace.pipelines.airflow.retry_policy import Cause, StageFailed, stage_failed
from headrace.pipelines.airflow.trigger import RayJobTrigger
from headrace.pipelines.ray_jobs.job_server import Cluster
from headrace.pipelines.ray_jobs.jobs import STOP_GRACE_VARIABLE, TERMINAL, RayJobs
from headrace.pipelines.ray_jobs.package import package, package_digest
from headrace.pipelines.ray_jobs.watch import Outcome, watch

SUBMISSION = "ray_submission_id"  # in the task state store, which survives retries and clearing
LOST = ("VANISHED", "AWAY", "STOPPED")  # nobody ended the task: the next attempt continues


class RayTask(BaseOperator):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """What every task does that follows a Ray job."""

    def __init__(
        self,
        *,
        ray_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = True,
        stop_grace_seconds: float = 20.0,
        job_timeout_seconds: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.ray_conn_id, self.deferrable = ray_conn_id, deferrable
        self.stop_grace_seconds, self.job_timeout_seconds = stop_grace_seconds, job_timeout_seconds
        self.ray_url: str | None = None
        self._following: tuple[Cluster, str] | None = None

    def follow(self, context: Any, submission_id: str, *, cluster: Cluster, is_ours: bool = True) -> Outcome:
        """Defer until the job is over; where the task is not deferrable, wait here and return its outcome."""
        context["task_state_store"].set(SUBMISSION, submission_id)
        self.ray_url = _page(cluster, submission_id)
        self.log.info("Ray job %s on %s", submission_id, cluster.address)
        deadline_seconds = time.time() + self.job_timeout_seconds if self.job_timeout_seconds else None
        if self.deferrable:
            trigger = RayJobTrigger(
                submission_id=submission_id,
                ray_conn_id=self.ray_conn_id,
                is_ours=is_ours,
                stop_grace_seconds=self.stop_grace_seconds,
                deadline_seconds=deadline_seconds,
            )
            self.defer(trigger=trigger, method_name="resume")
        self._following = (cluster, submission_id) if is_ours else None
        return asyncio.run(self._watch(cluster, submission_id, deadline_seconds))

    def succeed(self, outcome: Outcome) -> None:
        """Record the job's page; raise StageFailed, with its cause, where the job did not succeed."""
        cluster = find_cluster(self.ray_conn_id)
        if cluster is not None:  # again: what resumes is another process
            self.ray_url = _page(cluster, outcome.submission_id)
        if outcome.status == "SUCCEEDED":
            return
        if outcome.status == "TIMEOUT" and cluster is not None:
            asyncio.run(_stop(cluster, outcome.submission_id, self.stop_grace_seconds))
        target = f"Ray job {outcome.submission_id} {outcome.status}"
        if outcome.status in LOST:
            raise StageFailed(target, Cause.LOST, outcome.error)
        raise stage_failed(target, output=[f"error: {outcome.error}"], exit_code=outcome.exit_code)

    def on_kill(self) -> None:
        """Stop the job that this process follows, unless the task continues elsewhere."""
        super().on_kill()
        if self._following is not None:
            cluster, submission_id = self._following
            asyncio.run(_stop(cluster, submission_id, self.stop_grace_seconds))

    async def _watch(self, cluster: Cluster, submission_id: str, deadline_seconds: float | None) -> Outcome:
        async with RayJobs(cluster) as jobs:
            return await watch(
                jobs,
                submission_id,
                deadline_seconds=deadline_seconds,
                on_line=lambda line: self.log.info("%s", line),
            )


class RayJobOperator(RayTask):
    """Runs a command as a Ray job, in a folder whose code is shipped; nothing of it is Headrace's own.

    The job's id comes from the command, the code and the task's place in its DAG run. So a retry joins the job that is
    pending, runs or has succeeded. One that failed or was stopped gets a next generation, which finds its number in
    HEADRACE_GENERATION.
    """

    template_fields = ("entrypoint", "working_dir", "environment", "metadata")
    operator_extra_links = (RayLink(),)

    def __init__(
        self,
        *,
        entrypoint: str,
        working_dir: str | None = None,
        environment: dict[str, str] | None = None,
        metadata: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.entrypoint, self.working_dir = entrypoint, working_dir
        self.environment, self.metadata = environment or {}, metadata or {}

    def execute(self, context: Any) -> str:
        """Submit or join the job; its id once it has succeeded. A deferrable task continues in `resume`."""
        cluster = find_cluster(self.ray_conn_id)
        if cluster is None:
            raise StageFailed(self.entrypoint, Cause.MISTAKE, f"there is no connection {self.ray_conn_id!r}")
        submission_id = asyncio.run(self._submit(cluster, context["ti"]))
        self.succeed(self.follow(context, submission_id, cluster=cluster))
        return submission_id

    def resume(self, context: Any, event: dict[str, Any] | None = None) -> str:  # noqa: ARG002
        """The id of a job that succeeded; raises StageFailed, with its cause, where it did not."""
        outcome = Outcome.model_validate(event)
        self.succeed(outcome)
        return outcome.submission_id

    async def _submit(self, cluster: Cluster, task: Any) -> str:
        archive = package(Path(self.working_dir)) if self.working_dir else None
        content = [self.entrypoint, json.dumps(self.environment, sort_keys=True), package_digest(archive or b"")]
        place = f"{task.dag_id}/{task.run_id}/{task.task_id}/{task.map_index}"
        name = "-".join(hashlib.sha256(part.encode()).hexdigest()[:10] for part in ("\0".join(content), place))
        async with RayJobs(cluster) as jobs:
            if not allows_open(self.ray_conn_id):
                await jobs.require_authentication()
            generation = 1
            while (job := await jobs.find(f"{task.task_id}-{name}-{generation}")) is not None:
                if job.status not in TERMINAL or job.status == "SUCCEEDED":
                    self.log.info("joined Ray job %s, which is %s", job.submission_id, job.status)
                    return job.submission_id
                generation += 1
            submission_id = f"{task.task_id}-{name}-{generation}"
            grace = {STOP_GRACE_VARIABLE: f"{self.stop_grace_seconds:.0f}", "HEADRACE_GENERATION": str(generation)}
            shipped = {"working_dir": await jobs.ship(archive)} if archive else {}
            await jobs.submit(
                submission_id=submission_id,
                entrypoint=self.entrypoint,
                runtime_env={**shipped, "env_vars": {**self.environment, **grace}},
                metadata={**self.metadata, "headrace.owner": place},
            )
        return submission_id


def _page(cluster: Cluster, submission_id: str) -> str:
    return f"{cluster.address}/#/jobs/{submission_id}"


async def _stop(cluster: Cluster, submission_id: str, grace_seconds: float) -> None:
    async with RayJobs(cluster) as jobs:
        await jobs.stop(submission_id, grace_seconds=grace_seconds)
