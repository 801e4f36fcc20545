"""Watches a Ray job from Airflow's triggerer, so that a training takes no worker's place."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseXCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from headrace.components.errors import UserError
from headrace.pipelines.airflow.connection import afind_cluster
from headrace.pipelines.compatibility.airflow_internals import task_states
from headrace.pipelines.ray_jobs.jobs import RayJobs
from headrace.pipelines.ray_jobs.watch import Outcome, as_event, watch

LOG_LINES = "ray_log_lines"  # the XCom with how many lines of the job's log the task's log has
SAVE_SECONDS = 2.0
_STOPPING: set[asyncio.Task[None]] = set()  # an event loop itself keeps no task alive


class RayJobTrigger(BaseTrigger):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """Fires when the job is over, with an `Outcome`. What it is given is kept as plain text: never a secret.

    A triggerer that dies leaves the job alone: the next one continues with the log where this one was. A user
    who marks, clears or ends the task stops the job.
    """

    def __init__(
        self,
        *,
        submission_id: str,
        ray_conn_id: str,
        is_ours: bool = True,
        stop_grace_seconds: float = 20.0,
        deadline_seconds: float | None = None,
    ) -> None:
        super().__init__()
        self.submission_id, self.ray_conn_id, self.is_ours = submission_id, ray_conn_id, is_ours
        self.stop_grace_seconds, self.deadline_seconds = stop_grace_seconds, deadline_seconds
        self._saved_seconds = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments from which Airflow restores this trigger."""
        settings = ("submission_id", "ray_conn_id", "is_ours", "stop_grace_seconds", "deadline_seconds")
        return "headrace.pipelines.airflow.trigger.RayJobTrigger", {name: getattr(self, name) for name in settings}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Show the job's log in the task's log until the job is over."""
        yield TriggerEvent(as_event(await self._watch()))

    async def _watch(self) -> Outcome:
        try:
            cluster = await afind_cluster(self.ray_conn_id)
            if cluster is None:
                return self._lost(f"there is no connection {self.ray_conn_id!r}, and RAY_ADDRESS is no job server")
            async with RayJobs(cluster) as jobs:
                return await watch(
                    jobs,
                    self.submission_id,
                    after=await self._lines(),
                    deadline_seconds=self.deadline_seconds,
                    on_line=lambda line: self.log.info("%s", line),
                    on_count=self._save,
                )
        except UserError as error:
            return self._lost(str(error))

    async def on_kill(self) -> None:
        """Stop the job where somebody ended the task, and see that it has stopped.

        Airflow also calls this when another triggerer has taken the task over, and after the task's next attempt has
        adopted the job. Then the task is still deferred, and the job continues. While it waits, Airflow 3.3 cancels it
        each second, so what stops the job is an asyncio task of its own.
        """
        stopping = asyncio.create_task(self._stop())
        _STOPPING.add(stopping)
        stopping.add_done_callback(_STOPPING.discard)
        await asyncio.shield(stopping)

    async def _stop(self) -> None:
        if not self.is_ours or await self._is_deferred():
            return
        cluster = await afind_cluster(self.ray_conn_id)
        if cluster is None:
            return
        async with RayJobs(cluster) as jobs:
            job = await jobs.stop(self.submission_id, grace_seconds=self.stop_grace_seconds)
        self.log.warning("the task was ended, and with it Ray job %s: %s", self.submission_id, job.status)

    async def _is_deferred(self) -> bool:
        task = self.task_instance
        if task is None:
            return False
        states = await asyncio.to_thread(task_states, task.dag_id, task.run_id, task_ids=[task.task_id])
        name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
        return bool(states.get(name) == "deferred")

    async def _lines(self) -> int:
        """Number of lines of the job's log that an earlier triggerer has shown in this attempt."""
        if self.task_instance is None:
            return 0
        return int(await asyncio.to_thread(BaseXCom.get_one, key=LOG_LINES, **self._place()) or 0)

    async def _save(self, count: int) -> None:
        if self.task_instance is None or time.monotonic() - self._saved_seconds < SAVE_SECONDS:
            return
        self._saved_seconds = time.monotonic()
        await asyncio.to_thread(BaseXCom.set, key=LOG_LINES, value=count, **self._place())

    def _place(self) -> dict[str, Any]:
        task = self.task_instance
        names = ("dag_id", "task_id", "run_id", "map_index")
        return {name: getattr(task, name) for name in names}

    def _lost(self, error: str) -> Outcome:
        return Outcome(submission_id=self.submission_id, status="AWAY", error=error)
