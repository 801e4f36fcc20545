"""MLflow runs that are RUNNING although nobody trains: found, checked, and closed with their true status."""

import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.tracking.mlflow_runs import Status, close_run
from headrace.pipelines.tracking.search_runs import PARENT_TAG
from headrace.pipelines.tracking.server import address_of, connect, mlflow_request

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

HOST_TAG, PROCESS_TAG = "headrace.host", "headrace.process"
JOB_TAG, JOB_ADDRESS_TAG = "headrace.ray_submission_id", "headrace.ray_address"
OWNER_TAGS = (HOST_TAG, PROCESS_TAG, JOB_TAG, JOB_ADDRESS_TAG)

EXPERIMENTS = "headrace/"
_CLOCK_SECONDS = 5  # psutil computes a process's start from the machine's clock, which may be set in between
_PAGE = 1000
_REASON_LENGTH = 500


class JobState(NamedTuple):
    """What a cluster says of a job: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, and in one line why."""

    status: str
    message: str | None = None


StatusOf = Callable[[str, str], JobState | None]
"""Called with a job server's address and a submission id. None: there is no such job. ServiceError: no answer."""


class Verdict(NamedTuple):
    """What is true of a run that is RUNNING in MLflow; where it stays so, `status` is None."""

    run_id: str
    run_name: str
    status: Status | None
    reason: str


class _OwnerUnknownError(Exception):
    """The process that trains can't be queried from here, or the run does not say which one it is."""


def owner_tags(*, submission_id: str = "", address: str = "") -> dict[str, str]:
    """Tags, without "headrace.", by which a sweep finds out whether this training still runs.

    `submission_id` and `address` name its Ray job. Where there is none, the tags are empty: a run that continues
    outside of Ray must not be judged by its first job.
    """
    process = psutil.Process()
    started = f"{process.pid}:{int(process.create_time())}"
    return {
        "host": socket.gethostname(),
        "process": started,
        "ray_submission_id": submission_id,
        "ray_address": address,
    }


def process_ended(tags: Mapping[str, str]) -> bool | None:
    """Whether the process that `owner_tags` name has ended; None where that can't be known here."""
    host, process = tags.get(HOST_TAG), tags.get(PROCESS_TAG)
    if host is None or process is None or host != socket.gethostname():
        return None
    return not _lives(process)


def sweep(
    root: Path,
    *,
    status_of: StatusOf,
    pipeline: str | None = None,
    unreachable_after_hours: float = 24.0,
    dry_run: bool = False,
) -> tuple[Verdict, ...]:
    """Close the runs that nobody trains any more, and return a verdict on each run that is RUNNING.

    A run whose owner can't be reached stays RUNNING until it has given no sign of life for `unreachable_after_hours`.
    With `dry_run` nothing is changed. Raises ServiceError where MLflow can't be reached, ParamsError for a pipeline of
    which it has no runs.
    """
    client, status_of = connect(root), _query_each_cluster_once(status_of)
    verdicts = []
    for run in find_runs(root, pipeline, only_running=True):
        with mlflow_request(client.tracking_uri, f"read run {run.info.run_id}"):
            status, reason = _judged(client, run, status_of, unreachable_after_hours)
        if status is not None and not dry_run:
            status, reason = _closed(client, root, run, status, reason[:_REASON_LENGTH])
        verdicts.append(Verdict(run.info.run_id, str(run.info.run_name), status, reason))
    return tuple(verdicts)


def find_runs(
    root: Path, pipeline: str | None = None, *, only_running: bool = False, limit: int | None = None
) -> tuple["Run", ...]:
    """MLflow's runs of one pipeline, or of all, newest first; raise ParamsError for an unknown pipeline.

    With a `limit` no more than that many are asked for.
    """
    client = connect(root)
    runs: list[Run] = []
    with mlflow_request(client.tracking_uri, "search runs"):
        experiments = {one.name: one.experiment_id for one in client.search_experiments()}
        wanted = _experiment_ids(experiments, pipeline)
        token = "" if wanted else None
        running = "attributes.status = 'RUNNING'" if only_running else ""
        # All of them before one is closed: pages are counted from the start.
        while token is not None and (limit is None or len(runs) < limit):
            page = client.search_runs(
                wanted,
                running,
                max_results=_PAGE if limit is None else min(_PAGE, limit - len(runs)),
                order_by=["attributes.start_time DESC"],
                page_token=token or None,
            )
            runs += page
            token = page.token or None
    return tuple(runs)


def _experiment_ids(experiments: Mapping[str, str], pipeline: str | None) -> list[str]:
    ours = {name.removeprefix(EXPERIMENTS): key for name, key in experiments.items() if name.startswith(EXPERIMENTS)}
    if pipeline is None:
        return list(ours.values())
    if pipeline not in ours:
        raise ParamsError(f"MLflow has no run of {pipeline!r}; it has runs of: {', '.join(sorted(ours)) or 'none'}")
    return [ours[pipeline]]


def _judged(client: "MlflowClient", run: "Run", status_of: StatusOf, hours: float) -> tuple[Status | None, str]:
    """The status that the run should have, None if it trains or may train, and why."""
    parent = _parent(client, run)
    if parent is not None and parent.info.status != "RUNNING":
        return "KILLED", f"its search has ended as {parent.info.status}"
    owner = {**_owner(parent), **_owner(run)}
    try:
        return _by_job(client, run, owner, status_of) if JOB_TAG in owner else _by_process(owner)
    except _OwnerUnknownError as problem:
        silent_hours = (time.time() - _last_sign_seconds(client, run)) / 3600
        if silent_hours < hours:
            return None, str(problem)
        return "FAILED", f"no sign of life for {silent_hours:.0f} hours, and {problem}"


def _by_job(
    client: "MlflowClient", run: "Run", owner: Mapping[str, str], status_of: StatusOf
) -> tuple[Status | None, str]:
    """Status by Ray. Its job succeeds only after the results are in storage: then the training is finished."""
    job, address = owner[JOB_TAG], owner.get(JOB_ADDRESS_TAG)
    if address is None:
        raise _OwnerUnknownError(f"the run does not say which cluster has its Ray job {job}")
    try:
        state = status_of(address, job)
    except ServiceError as error:
        raise _OwnerUnknownError(f"its cluster does not answer: {error}") from error
    where = f"Ray job {job} at {address_of(address)}"
    if state is None:
        if owner.get(HOST_TAG) == socket.gethostname() and _lives(owner.get(PROCESS_TAG, "")):
            return None, f"there is no {where}, but its process {owner[PROCESS_TAG]} lives"  # it may be about to submit
        return "FAILED", f"vanished: there is no {where}"
    match state.status:
        case "SUCCEEDED":
            epochs = len(client.get_metric_history(run.info.run_id, "loss"))
            of = run.data.params.get("epochs", "?")
            return "FINISHED", f"{where} succeeded; {epochs} of at most {of} epochs were logged to MLflow"
        case "FAILED":
            return "FAILED", f"{where} failed: {state.message or 'Ray does not say why'}"
        case "STOPPED":
            return "KILLED", f"{where} was stopped"
        case present:
            return None, f"{where} is {present}"


def _by_process(owner: Mapping[str, str]) -> tuple[Status | None, str]:
    host, process = owner.get(HOST_TAG), owner.get(PROCESS_TAG)
    if host is None or process is None:
        raise _OwnerUnknownError("the run does not say which process trains it")
    if host != socket.gethostname():
        raise _OwnerUnknownError(f"its process is on another machine, {host}")
    pid = process.partition(":")[0]
    if _lives(process):
        return None, f"its process {pid} lives"
    return "KILLED", f"its process {pid} on {host} has ended without a word"


def _lives(process: str) -> bool:
    """Whether there is a process of that id that started at that second ("<pid>:<seconds>")."""
    pid, _, started = process.partition(":")
    try:
        found = psutil.Process(int(pid))
        is_same = abs(found.create_time() - int(started)) <= _CLOCK_SECONDS
        return bool(is_same and found.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ValueError):
        return False


def _owner(run: "Run | None") -> dict[str, str]:
    return {tag: run.data.tags[tag] for tag in OWNER_TAGS if run.data.tags.get(tag)} if run else {}


def _parent(client: "MlflowClient", run: "Run") -> "Run | None":
    """The run of the search that a trial belongs to; None for any other run, and where MLflow has it no more."""
    from mlflow.exceptions import MlflowException

    if PARENT_TAG not in run.data.tags:
        return None
    try:
        return client.get_run(run.data.tags[PARENT_TAG])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _last_sign_seconds(client: "MlflowClient", run: "Run") -> float:
    """Time in seconds since 1970 of the last sign of life of the run or a trial: a start, or an epoch."""
    trials = client.search_runs([run.info.experiment_id], f"tags.`{PARENT_TAG}` = '{run.info.run_id}'")
    milliseconds = [one.info.start_time for one in (run, *trials)]
    for one in (run, *trials):
        milliseconds += [metric.timestamp for metric in client.get_metric_history(one.info.run_id, "loss")[-1:]]
    return float(max(milliseconds)) / 1000


def _closed(client: "MlflowClient", root: Path, run: "Run", status: Status, reason: str) -> tuple[Status | None, str]:
    """Close the run, unless it was closed or another process continues it since it was judged."""
    with mlflow_request(client.tracking_uri, f"read run {run.info.run_id} again"):
        present = client.get_run(run.info.run_id)
    if _owner(present) != _owner(run):
        return None, "another process continues it"
    if not close_run(root, run.info.run_id, status=status, tags={"headrace.swept": "true"}, reason=reason):
        return None, "it was closed meanwhile"
    return status, reason


def _query_each_cluster_once(status_of: StatusOf) -> StatusOf:
    """`status_of` that does not query a cluster again that did not answer: each query may take until its time limit."""
    away: dict[str, ServiceError] = {}

    def status(address: str, job: str) -> JobState | None:
        if address in away:
            raise away[address]
        try:
            return status_of(address, job)
        except ServiceError as error:
            away[address] = error
            raise

    return status
