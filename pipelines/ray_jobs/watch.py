"""A Ray job as its follower sees it: each line of its log once, and how it ended."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.components.errors import ServiceError
from headrace.components.schema.settings import Settings
from headrace.pipelines.ray_jobs.jobs import TERMINAL, RayJobs, last_error

KEPT_LINES = 200  # of the log, to find the job's last error in
AWAY_SECONDS = 600.0  # how long a job server may be away before its follower gives up
RETRY_SECONDS = 10.0


class Outcome(Settings):
    """How a job ended: `status` is Ray's, or VANISHED, AWAY or TIMEOUT; `error` the last one in the job's own log."""

    submission_id: str
    status: str
    exit_code: int | None = None
    error: str = ""


async def watch(
    jobs: RayJobs,
    submission_id: str,
    *,
    after: int = 0,
    deadline_seconds: float | None = None,
    on_line: Callable[[str], None],
    on_count: Callable[[int], Awaitable[None]] | None = None,
) -> Outcome:
    """Follow the job until it ends; its outcome.

    `on_line` is given each line of its log from the `after`-th on, `on_count` how many there were so far;
    `deadline_seconds` is in seconds since 1970. A server that is away for a while is waited for.
    """
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    count, away_since = after, None
    while True:
        try:
            async with asyncio.timeout(deadline_seconds - time.time() if deadline_seconds else None):
                async for line in jobs.log(submission_id, after=count):
                    count, away_since = count + 1, None
                    kept.append(line)
                    on_line(line)
                    if on_count:
                        await on_count(count)
                return await _outcome(jobs, submission_id, kept)
        except TimeoutError:
            return Outcome(submission_id=submission_id, status="TIMEOUT", error="it took longer than it may")
        except ServiceError as error:
            if (outcome := await _after_loss(jobs, submission_id)) is not None:
                return outcome
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY_SECONDS:
                return Outcome(submission_id=submission_id, status="AWAY", error=str(error))
            on_line(f"the cluster is away; polling the job again: {error}")
            await asyncio.sleep(RETRY_SECONDS)


async def _outcome(jobs: RayJobs, submission_id: str, lines: deque[str]) -> Outcome:
    job = await jobs.find(submission_id)
    if job is None:
        return _vanished(submission_id)
    error = "" if job.status == "SUCCEEDED" else last_error("\n".join(lines)) or job.message
    return Outcome(submission_id=submission_id, status=job.status, exit_code=job.exit_code, error=error)


async def _after_loss(jobs: RayJobs, submission_id: str) -> Outcome | None:
    """The job's outcome if the server knows it; None while it is away or the job continues."""
    try:
        job = await jobs.find(submission_id)
    except ServiceError:
        return None
    if job is None:
        return _vanished(submission_id)
    if job.status in TERMINAL:  # its log is lost, such as with its node
        return Outcome(submission_id=submission_id, status=job.status, exit_code=job.exit_code, error=job.message)
    return None


def _vanished(submission_id: str) -> Outcome:
    said = "the cluster knows no such job any more: it was restarted, or it is another one"
    return Outcome(submission_id=submission_id, status="VANISHED", error=said)


def as_event(outcome: Outcome) -> dict[str, Any]:
    """The outcome as the payload of a trigger's event."""
    return outcome.model_dump(mode="json")
