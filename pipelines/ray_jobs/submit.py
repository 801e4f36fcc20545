"""A training as a Ray job: submitted once, or joined where it is under way, and followed to its end."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from headrace.components.schema.settings import Settings
from headrace.pipelines.distributed_plan import DriverResources
from headrace.pipelines.ray_jobs.jobs import NOTHING_RESERVED, STOP_GRACE_VARIABLE, Job, RayJobs

STOP_GRACE_SECONDS = 30.0  # a step, its checkpoint and Ray's own end
RUN_NAME, OWNER = "headrace.run_name", "headrace.owner"
ALIVE = ("PENDING", "RUNNING")

log = structlog.get_logger()


@dataclass(frozen=True)
class Submission:
    """What a new job runs: a command, in a folder that is shipped as an archive, with environment variables."""

    archive: bytes
    entrypoint: str
    environment: Mapping[str, str]
    driver: DriverResources = NOTHING_RESERVED


class Submitted(Settings):
    """The job that trains, and whether it is this owner's: another's may be followed, but is never stopped."""

    submission_id: str
    address: str
    is_ours: bool


async def submit_or_join(
    jobs: RayJobs,
    make: Callable[[], Submission],
    *,
    address: str,
    run_name: str,
    owner: str,
    has_results: Callable[[], bool],
) -> Submitted:
    """Join the job that trains `run_name` if one is under way or has succeeded, or else submit a new one.

    A job that failed or was stopped gets a next generation, which continues from its checkpoint. The id depends on
    content and owner alone, so another attempt after a lost answer finds the job of the first. `make` is called only
    where a new job is needed.
    """
    if (other := await _of_another(jobs, run_name, owner)) is not None:
        return _joined(other, address, is_ours=False)
    generation = 1
    while True:
        submission_id = job_id(run_name, owner=owner, generation=generation)
        job = await jobs.find(submission_id)
        if job is None:
            return await _submit(jobs, make(), submission_id, address=address, run_name=run_name, owner=owner)
        if job.status in ALIVE or (job.status == "SUCCEEDED" and has_results()):
            return _joined(job, address, is_ours=True)
        generation += 1


def job_id(run_name: str, *, owner: str, generation: int) -> str:
    """Submission id of one attempt at a training.

    >>> job_id("digits-0123456789ab", owner="hand", generation=2)
    'digits-0123456789ab-1b001706-2'
    """
    return f"{run_name}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}-{generation}"


async def _submit(
    jobs: RayJobs, new: Submission, submission_id: str, *, address: str, run_name: str, owner: str
) -> Submitted:
    is_new = await jobs.submit(
        submission_id=submission_id,
        entrypoint=new.entrypoint,
        runtime_env={
            "working_dir": await jobs.ship(new.archive),
            # Ray kills a job three seconds after the request to stop it, unless this variable says otherwise.
            "env_vars": {**new.environment, STOP_GRACE_VARIABLE: f"{STOP_GRACE_SECONDS:.0f}"},
        },
        metadata={RUN_NAME: run_name, OWNER: owner},
        driver=new.driver,
    )
    log.info("submitted" if is_new else "joined", job=submission_id, cluster=address)
    # Two owners may have submitted concurrently. The later one gives way: it sees the earlier one here for certain.
    other, mine = await _of_another(jobs, run_name, owner), await jobs.find(submission_id)
    if other is not None and mine is not None and _age(other) < _age(mine):
        await jobs.stop(submission_id, grace_seconds=STOP_GRACE_SECONDS)
        return _joined(other, address, is_ours=False)
    return Submitted(submission_id=submission_id, address=address, is_ours=True)


async def _of_another(jobs: RayJobs, run_name: str, owner: str) -> Job | None:
    """The oldest living job that trains the same for another owner."""
    same = [job for job in await jobs.list() if job.metadata.get(RUN_NAME) == run_name and job.status in ALIVE]
    return min((job for job in same if job.metadata.get(OWNER) != owner), key=_age, default=None)


def _age(job: Job) -> tuple[float, str]:
    return (job.start_seconds or float("inf"), job.submission_id)


def _joined(job: Job, address: str, *, is_ours: bool) -> Submitted:
    owner = {} if is_ours else {"owner": job.metadata.get(OWNER, "unknown")}
    log.info("joined the job that trains this", job=job.submission_id, status=job.status, **owner)
    return Submitted(submission_id=job.submission_id, address=address, is_ours=is_ours)
