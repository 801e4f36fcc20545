"""Ray's jobs, over the REST API of its job server and without Ray itself: submit or adopt, follow, stop.

API: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
"""

import asyncio
import importlib.metadata
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.distributed_plan import DriverResources
from headrace.pipelines.host.logs import error_of
from headrace.pipelines.ray_jobs.job_server import (
    RETRY_SECONDS,
    Cluster,
    JobServer,
    UnansweredError,
    cluster_from_environment,
)
from headrace.pipelines.ray_jobs.package import package_digest

__all__ = ["STOP_GRACE_VARIABLE", "TERMINAL", "Cluster", "Job", "JobStatus", "RayJobs"]
__all__ += ["cluster_from_environment", "last_error"]

JobStatus = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
TERMINAL: frozenset[JobStatus] = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})

# Whole seconds from Ray's SIGTERM to its SIGKILL, 3 if unset. Read from the environment of the job's supervisor, an
# actor with the job's runtime_env: so it is chosen by runtime_env["env_vars"] at submission, and never at the stop.
STOP_GRACE_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"

NOTHING_RESERVED = DriverResources()
_STOP_MARGIN_SECONDS = 15.0  # Ray's own time to signal, poll and record
_POLL_SECONDS = 1.0
_LOST_SECONDS = 60.0  # a node's death is noticed by Ray within half of it
# A socket whose other end vanished without a word is the same as a job that logs nothing, and Ray answers no pings.
_QUIET_SECONDS = 60.0
_UPLOAD_BYTES_PER_SECOND = 1_000_000  # of the slowest network that is waited for

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_RAY_PREFIX = re.compile(r"^\((?:\w+ )?pid=\d+[^)]*\) ?")


@dataclass(frozen=True)
class Job:
    """What the job server knows of a job; `message` is Ray's own, times are seconds since 1970."""

    submission_id: str
    status: JobStatus
    message: str
    entrypoint: str
    metadata: Mapping[str, str]
    start_seconds: float | None
    end_seconds: float | None
    exit_code: int | None


class RayJobs:
    """A connection to one job server: `async with RayJobs(cluster) as jobs`.

    All methods raise ServiceError where the server can't be reached, refuses, or answers what a job server doesn't.
    Those that need a job also raise it where the cluster knows none of that id.
    """

    def __init__(self, cluster: Cluster, *, timeout_seconds: float = 30.0) -> None:
        self._server = JobServer(cluster, timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, where)

    async def require_authentication(self) -> None:
        """Raise ServiceError where somebody without a token is answered: anybody could run code there."""
        status, _ = await self._server.request(
            "GET", "/api/version", authenticated=False, expected=(200, 401, 403, 404)
        )
        if status not in (401, 403):
            raise ServiceError(
                f"Ray at {self._server.address} answers without a token: who reaches it can run code on it. Expected "
                "token authentication: start the cluster with RAY_AUTH_MODE=token"
            )

    async def require_version(self) -> None:
        """Raise ParamsError where the cluster has another Ray than this machine: the two would exchange pickles."""
        _, said = await self._server.request("GET", "/api/version")
        there, here = self._server.decode(said)["ray_version"], importlib.metadata.version("ray")
        if there != here:
            raise ParamsError(
                f"Ray at {self._server.address} has version {there}, this machine {here}; install the same on both: "
                "what requirements.lock says"
            )

    async def submit(
        self,
        *,
        submission_id: str,
        entrypoint: str,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
        driver: DriverResources = NOTHING_RESERVED,
    ) -> bool:
        """Submit a job; False if the cluster already has one of that id, which is then as good.

        Ray refuses an id that it knows, so a retry makes no second job. Where the answer got lost, the server is
        queried for the id. Where nothing is reserved for the driver it runs on the head node, else where there is room.
        """
        request = {"submission_id": submission_id, "entrypoint": entrypoint, **_reserved(driver)}
        request |= {"runtime_env": dict(runtime_env), "metadata": dict(metadata)}
        content = json.dumps(request).encode()
        for pause in (*RETRY_SECONDS, None):
            problem: ServiceError
            status = None
            try:
                status, said = await self._server.send("POST", "/api/jobs/", content=content)
                if status == 200:
                    return True
                problem = self._server.unexpected(status, said, f"take job {submission_id}")
            except UnansweredError as error:
                problem = error
            if await self.find(submission_id) is not None:
                return status is None
            if pause is None or (status is not None and status < 500):
                break
            await asyncio.sleep(pause)
        raise problem

    async def find(self, submission_id: str) -> Job | None:
        """The job; None where the cluster knows none of that id, as after its restart."""
        status, said = await self._server.request("GET", _path(submission_id), expected=(200, 404))
        if status == 200:
            found: Mapping[str, Any] = self._server.decode(said)
            return (await self._jobs([found]))[0]
        if "does not exist" not in said:  # the 404 of a proxy, or of another server, says nothing about the job
            raise self._server.unexpected(status, said, f"find job {submission_id}")
        return None

    async def list(self) -> Sequence[Job]:
        """All submitted jobs that the cluster knows, without drivers that connected by themselves."""
        _, said = await self._server.request("GET", "/api/jobs/")
        return await self._jobs([one for one in self._server.decode(said) if one["type"] == "SUBMISSION"])

    async def log(self, submission_id: str, *, after: int = 0) -> AsyncGenerator[str, None]:
        r"""Yield each line of the job's log that follows the first `after` lines, as it comes, until the job has ended.

        Lines are complete and come without their end: a reader that counts them can continue at any time, each once.
        The first line is Ray's own; a "\r" ends a line too. Raises ServiceError where the log is lost with its node.
        """
        heard = time.monotonic()
        while (job := await self._known(submission_id)).status not in TERMINAL:
            async with aclosing(self._tail(submission_id, after=after)) as lines:
                async for line in lines:
                    after, heard = after + 1, time.monotonic()
                    yield line
            if time.monotonic() - heard > _LOST_SECONDS:
                await self._require_log(job)
        # The socket closes in the same way when the job ends and when a part of Ray does: the log may have more.
        _, said = await self._server.request("GET", f"{_path(submission_id)}/logs")
        *lines_to_end, last = self._server.decode(said)["logs"].split("\n")
        for line in [*lines_to_end, *filter(None, [last])][after:]:
            yield line

    async def stop(self, submission_id: str, *, grace_seconds: float) -> Job:
        """Stop the job, and wait until it has ended.

        Ray sends SIGTERM, and SIGKILL after the seconds of STOP_GRACE_VARIABLE at submission. `grace_seconds` should be
        the same: this waits a little longer. Raises ServiceError if the job still lives then.
        """
        limit_seconds, job = grace_seconds + _STOP_MARGIN_SECONDS, None
        try:
            async with asyncio.timeout(limit_seconds):
                while (job := await self._known(submission_id)).status not in TERMINAL:
                    await self._server.request("POST", f"{_path(submission_id)}/stop")  # twice is as once
                    await asyncio.sleep(_POLL_SECONDS)
                return job
        except TimeoutError:
            if job is not None and job.status == "PENDING":
                raise ServiceError(
                    f"Ray job {submission_id} waits for a node with room for its driver; Ray stops it once it has one, "
                    "and fails it after RAY_JOB_START_TIMEOUT_SECONDS, by default 15 minutes; see train.driver"
                ) from None
            raise ServiceError(
                f"Ray job {submission_id} still lives {limit_seconds:.0f} s after a request to stop; expected it to "
                f"end within {grace_seconds:.0f} s: see {self._server.address}/#/jobs, it may hold its nodes"
            ) from None

    async def ship(self, archive: bytes | Path, name: str = "headrace") -> str:
        """Upload a zip, unless the cluster has it, and return its URI for runtime_env["working_dir"].

        It is named after its content. Ray keeps it for ten minutes from now, and then while a job uses it.
        """
        content = archive if isinstance(archive, bytes) else archive.read_bytes()
        package = f"_ray_pkg_{name}_{package_digest(content)}.zip"
        path = f"/api/packages/gcs/{quote(package, safe='')}"
        status, _ = await self._server.request("GET", path, expected=(200, 404))
        if status == 404:
            seconds = self._server.timeout_seconds + len(content) / _UPLOAD_BYTES_PER_SECOND
            await self._server.request("PUT", path, content=content, seconds=seconds)
        return f"gcs://{package}"

    async def _jobs(self, found: Sequence[Mapping[str, Any]]) -> Sequence[Job]:
        """The jobs as they are: Ray says RUNNING for ever of one whose node died together with the head."""
        jobs = [_job(one) for one in found]
        nodes = [
            one.get("driver_node_id") if job.status == "RUNNING" else None for one, job in zip(found, jobs, strict=True)
        ]
        if not any(nodes):
            return jobs
        _, said = await self._server.request("GET", "/nodes?view=summary")
        summary = [one["raylet"] for one in self._server.decode(said)["data"]["summary"]]
        alive = {node.get("nodeId") for node in summary if node.get("state") == "ALIVE"}
        return [
            replace(job, status="FAILED", message="the node of its driver is gone")
            if node and node not in alive
            else job
            for job, node in zip(jobs, nodes, strict=True)
        ]

    async def _known(self, submission_id: str) -> Job:
        if (job := await self.find(submission_id)) is None:
            raise ServiceError(
                f"Ray at {self._server.address} knows no job {submission_id}: it was restarted and has forgotten its "
                "jobs, or it is another cluster. Submit the job again"
            )
        return job

    async def _require_log(self, job: Job) -> None:
        """Raise ServiceError where the job's node is gone; if it is the head, Ray says RUNNING for ever (measured)."""
        status, _ = await self._server.request("GET", f"{_path(job.submission_id)}/logs", expected=(200, 500))
        if status == 500:
            raise ServiceError(
                f"Ray at {self._server.address} says that job {job.submission_id} is {job.status}, but can't reach its "
                "node, where it has ended then. Start the cluster again, and submit the job again"
            )

    async def _tail(self, submission_id: str, *, after: int) -> AsyncGenerator[str, None]:
        """Yield complete lines until the socket closes, for whatever reason; Ray sends the log from its start."""
        from aiohttp import ClientError, WSMsgType

        seen, unfinished = 0, ""
        try:
            async with await self._server.connect(f"{_path(submission_id)}/logs/tail") as socket:
                while (message := await socket.receive(timeout=_QUIET_SECONDS)).type is WSMsgType.TEXT:
                    *lines, unfinished = (unfinished + message.data).split("\n")
                    for line in lines:
                        seen += 1
                        if seen > after:
                            yield line
        except (ClientError, OSError):  # a TimeoutError is an OSError; what is wrong, the next request finds out
            await asyncio.sleep(_POLL_SECONDS)


def last_error(log: str) -> str:
    """The error in a job's log: the last `error: ...` or end of a traceback, else its last line."""
    last = found = ""
    in_traceback = False
    for raw in log.splitlines():
        line = _RAY_PREFIX.sub("", _ANSI.sub("", raw)).rstrip()
        if not line:
            continue
        last = line
        if (said := error_of(line)) is not None:  # as `headrace` ends
            found = said
        elif in_traceback and not line[0].isspace():
            found, in_traceback = line, False
        in_traceback = in_traceback or line.startswith("Traceback (most recent call last)")
    return found or last


def _job(found: Mapping[str, Any]) -> Job:
    return Job(
        submission_id=found["submission_id"],
        status=found["status"],
        message=found.get("message") or "",
        entrypoint=found["entrypoint"],
        metadata=found.get("metadata") or {},
        start_seconds=_seconds(found.get("start_time")),
        end_seconds=_seconds(found.get("end_time")),
        exit_code=found.get("driver_exit_code"),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _reserved(driver: DriverResources) -> dict[str, Any]:
    """The fields of a request by which Ray reserves something."""
    return {
        "entrypoint_num_cpus": driver.cores,
        **({"entrypoint_memory": driver.memory_bytes} if driver.memory_bytes else {}),
        **({"entrypoint_label_selector": driver.labels} if driver.labels else {}),
    }


def _path(submission_id: str) -> str:
    return f"/api/jobs/{quote(submission_id, safe='')}"
