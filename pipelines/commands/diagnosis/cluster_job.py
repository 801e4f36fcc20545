"""`headrace doctor --cluster` from a machine that is none of the cluster's: as a Ray job, whose log is the answer."""

import asyncio
import shlex
import time
import uuid

import typer

from headrace.components.errors import ServiceError
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.ray_jobs.job_server import cluster_from_environment
from headrace.pipelines.ray_jobs.jobs import RayJobs
from headrace.pipelines.ray_jobs.package import headrace_code, package
from headrace.pipelines.ray_jobs.watch import Outcome, watch
from headrace.pipelines.remote_training.handoff import STORAGE_VARIABLE, storage_address
from headrace.pipelines.remote_training.remote_train import require_closed, shipped_environment

LIMIT_SECONDS = 600.0
FOUND_SOMETHING = 1  # the exit code of a doctor that has found something wrong


def check_by_job(project: ProjectPaths, *, disk_bytes: int) -> int:
    """Check the cluster by a job on it, and print what that prints; the exit code.

    Raises ServiceError where the job server is away, or the job came to another end than its own.
    """
    outcome = asyncio.run(_run(project, disk_bytes))
    if outcome.status == "SUCCEEDED":
        return 0
    if outcome.exit_code == FOUND_SOMETHING:
        return FOUND_SOMETHING
    raise ServiceError(f"Ray job {outcome.submission_id} {outcome.status.lower()}: {outcome.error}")


async def _run(project: ProjectPaths, disk_bytes: int) -> Outcome:
    command = ["headrace", "doctor", "--cluster", "--disk-bytes", str(disk_bytes)]
    environment = {**shipped_environment(), STORAGE_VARIABLE: storage_address(project.root)}
    async with RayJobs(cluster_from_environment()) as jobs:
        await require_closed(jobs)
        await jobs.require_version()
        name = f"doctor-{uuid.uuid4().hex[:12]}"
        await jobs.submit(
            submission_id=name,
            entrypoint=shlex.join(command),
            runtime_env={
                "working_dir": await jobs.ship(package(project.root, extra=headrace_code())),
                "env_vars": environment,
            },
            metadata={},
        )
        return await watch(jobs, name, deadline_seconds=time.time() + LIMIT_SECONDS, on_line=typer.echo)
