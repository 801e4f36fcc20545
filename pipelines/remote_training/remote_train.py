"""A training on the cluster whose job server RAY_ADDRESS names: handed over, followed, and its results fetched."""

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from headrace.components.errors import EXIT_SERVICE, ParamsError, ServiceError, TrainingError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.host.logs import LOG_VARIABLES
from headrace.pipelines.host.traces import TRACE_VARIABLES
from headrace.pipelines.object_store.objects import Storage, open_storage
from headrace.pipelines.object_store.published import fetch, is_published
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.ray_cluster.ports import PORTS_VARIABLE
from headrace.pipelines.ray_jobs.job_server import cluster_from_environment
from headrace.pipelines.ray_jobs.jobs import RayJobs
from headrace.pipelines.ray_jobs.package import headrace_code, package
from headrace.pipelines.ray_jobs.submit import STOP_GRACE_SECONDS, Submission, Submitted, submit_or_join
from headrace.pipelines.ray_jobs.watch import Outcome, watch
from headrace.pipelines.ray_train.training_job import training_key
from headrace.pipelines.ray_train.worker_figures import INTERVAL_VARIABLE
from headrace.pipelines.remote_training.handoff import RECORD, Handoff, publish_inputs
from headrace.pipelines.tracking.mlflow_runs import Status
from headrace.pipelines.tracking.training_run import record_file, settle

SUBMITTED_VARIABLE = "HEADRACE_SUBMITTED"  # a file, named by who wants the job submitted and follows it without us
OPEN_VARIABLE = "HEADRACE_ALLOW_OPEN_RAY"
HANDED_OVER = 76  # the exit code where the job was only submitted
# Addresses, never a secret: Ray shows a job's environment to everyone who may see the job.
SHIPPED_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "TF_CPP_MIN_LOG_LEVEL",
    PORTS_VARIABLE,
    *LOG_VARIABLES,
    *TRACE_VARIABLES,
    INTERVAL_VARIABLE,
)

log = structlog.get_logger()


def uses_job_server() -> bool:
    """Whether RAY_ADDRESS names a job server (http or https), so that a training runs there as a job."""
    return os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://"))


def is_trained(handoff: Handoff) -> bool:
    """Whether the storage has the results of this very training."""
    return is_published(training_key(handoff.run_name, "run"), storage=open_storage(handoff.storage))


def train_remotely(
    pipeline: Pipeline,
    paths: PipelinePaths,
    handoff: Handoff,
    *,
    start_weights: Path | None,
    pretrained: Path | None = None,
) -> Path:
    """Train by a Ray job unless the storage has the results already; the folder of `results` and `run`.

    The job is followed, its log on standard error; an interrupt asks whether to stop it. Raises TrainingError with the
    job's own last error, ServiceError where the job can't be followed or was lost with its cluster.
    """
    storage = open_storage(handoff.storage)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ParamsError(
            f"RAY_ADDRESS is a cluster ({handoff.ray_address}), and MLFLOW_TRACKING_URI is not set: expected a server "
            "that its nodes reach, because they can't write into mlflow.db of this folder"
        )
    if not is_trained(handoff):

        def make() -> Submission:
            publish_inputs(paths, handoff, start_weights=start_weights, pretrained=pretrained)
            return _submission(pipeline, paths.root, handoff)

        _train(paths.root, make, handoff, storage)
    folder = ProjectPaths(paths.root).ray_storage / handoff.run_name / "fetched"
    for name in ("results", "run"):
        if not fetch(training_key(handoff.run_name, name), folder / name, storage=storage):
            raise ServiceError(f"{handoff.run_name} wrote no {name} to the storage {handoff.storage}; train again")
    return folder


def _train(root: Path, make: Callable[[], Submission], handoff: Handoff, storage: Storage) -> None:
    submitted: list[Submitted] = []
    try:
        outcome = asyncio.run(_submit_and_watch(make, handoff, storage, on_submitted=submitted.append))
    except KeyboardInterrupt:
        if submitted:
            asyncio.run(_stop_if_confirmed(submitted[0]))
        raise
    if outcome.status == "SUCCEEDED":
        return
    if outcome.status != "AWAY":  # else it may continue, and report to MLflow itself
        _settle(root, handoff, storage, "KILLED" if outcome.status == "STOPPED" else "FAILED", outcome.error)
    error = ServiceError if _may_succeed_again(outcome.exit_code) else TrainingError
    raise error(f"Ray job {outcome.submission_id} {outcome.status.lower()}: {outcome.error}")


def _may_succeed_again(exit_code: int | None) -> bool:
    """Whether the driver was lost or killed (None, or a signal's number), or said that a service was away."""
    return exit_code is None or exit_code < 0 or exit_code > 128 or exit_code == EXIT_SERVICE


async def _submit_and_watch(
    make: Callable[[], Submission], handoff: Handoff, storage: Storage, *, on_submitted: Callable[[Submitted], None]
) -> Outcome:
    cluster = cluster_from_environment()
    async with RayJobs(cluster) as jobs:
        await require_closed(jobs)
        await jobs.require_version()
        submitted = await submit_or_join(
            jobs,
            make,
            address=cluster.address,
            run_name=handoff.run_name,
            owner=handoff.owner,
            has_results=lambda: is_published(training_key(handoff.run_name, "run"), storage=storage),
        )
        on_submitted(submitted)
        _hand_over_to_caller(submitted)
        return await watch(jobs, submitted.submission_id, on_line=_show)


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - it is the job's own log


def _hand_over_to_caller(submitted: Submitted) -> None:
    """End this process where somebody else wants to follow the job."""
    if file := os.environ.get(SUBMITTED_VARIABLE):
        with replace_file(Path(file)) as temporary:
            temporary.write_text(submitted.model_dump_json(), encoding="utf-8")
        sys.exit(HANDED_OVER)


async def _stop_if_confirmed(submitted: Submitted) -> None:
    """Stop the job if the user confirms it; without a terminal it continues, and can be joined again."""
    name = submitted.submission_id
    if submitted.is_ours and sys.stdin.isatty():
        print(f"\n{name} trains on the cluster. Stop it [s], or leave it running [Enter]? ", end="", file=sys.stderr)  # noqa: T201
        if sys.stdin.readline().strip().lower().startswith("s"):
            async with RayJobs(cluster_from_environment()) as jobs:
                job = await jobs.stop(name, grace_seconds=STOP_GRACE_SECONDS)
            log.info("stopped", job=name, status=job.status)
            return
    stop = f"ray job stop {name} --address {submitted.address}"
    log.warning("the training continues; the same command joins it again", job=name, to_stop_it=stop)


def _settle(root: Path, handoff: Handoff, storage: Storage, status: Status, reason: str) -> None:
    """Give the training's MLflow run its status, where the job could not."""
    file = record_file(root, handoff.run_name)
    file.parent.mkdir(parents=True, exist_ok=True)
    if storage.download(training_key(handoff.run_name, RECORD), file):
        settle(root, handoff.run_name, status=status, reason=reason[:500])


def _submission(pipeline: Pipeline, root: Path, handoff: Handoff) -> Submission:
    shipped = ProjectPaths(root).handoff.relative_to(root).as_posix()
    workers = pipeline.train.num_workers
    requested = str(workers) if isinstance(workers, int) else f"{workers.min}:{workers.max}"
    return Submission(
        archive=package(root, extra={**headrace_code(), shipped: handoff.model_dump_json(indent=1).encode()}),
        entrypoint=shlex.join(["headrace", "train", pipeline.name, "--workers", requested]),
        environment=shipped_environment(),
        driver=pipeline.train.driver,
    )


async def require_closed(jobs: RayJobs) -> None:
    """Raise what `require_authentication` raises, unless HEADRACE_ALLOW_OPEN_RAY allows for an open cluster."""
    if not os.environ.get(OPEN_VARIABLE):
        await jobs.require_authentication()


def shipped_environment() -> dict[str, str]:
    """Variables of this process that a job on the cluster gets: addresses, none of them with a password."""
    return {name: value for name in SHIPPED_VARIABLES if (value := os.environ.get(name)) and _is_open(value)}


def _is_open(value: str) -> bool:
    """Whether it is no address with a password in it; nodes then need a variable of their own."""
    return "@" not in urlsplit(value).netloc
