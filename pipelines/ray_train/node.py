"""One node's part of a training whose nodes share no folder: inputs fetched once, checkpoints kept in the storage."""

import fcntl
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from headrace.components.errors import ServiceError
from headrace.pipelines.host.private import temporary_folder
from headrace.pipelines.object_store.objects import Storage, open_storage
from headrace.pipelines.object_store.published import MANIFEST, fetch, publish, published, withdraw
from headrace.pipelines.ray_train.progress_files import is_stopping, report_event, write_file
from headrace.pipelines.ray_train.training_events import NoteEvent
from headrace.pipelines.ray_train.training_job import Job

AnyJob = TypeVar("AnyJob", bound=Job)

STOP_POLL_SECONDS = 1.0


def on_this_node(job: AnyJob) -> AnyJob:
    """Fetch the job's inputs and the storage's newest checkpoint to this node; the job with their paths.

    The job is returned as it is where all nodes share its folder. Raises ServiceError where the inputs are not what was
    published.
    """
    if not job.storage:
        return job
    storage, scratch = open_storage(job.storage), scratch_folder(job)
    inputs = scratch / "inputs"
    manifest = published(str(job.inputs), storage=storage)
    if manifest is None:
        raise ServiceError(f"{job.inputs} is not in the storage {job.storage}; start the training again")
    sizes = {name: file.size_bytes for name, file in manifest.files.items()}
    local = job.model_copy(update={"folder": scratch}).with_inputs(inputs, sizes)
    with _alone(scratch):
        needed = [name for name in sizes if not local.is_left_out(name)]
        if not all((inputs / name).is_file() for name in needed):
            fetch(str(job.inputs), inputs, storage=storage, left_out=local.is_left_out)
        _fetch_newest_checkpoint(local, storage)
    return local


def scratch_folder(job: Job) -> Path:
    """A folder on this node, of this user alone; every epoch may read all that is in it."""
    return temporary_folder() / job.run_name


def keep_in_storage(job: Job, checkpoint: Path) -> None:
    """Upload a checkpoint, and remove from the storage those that are no longer kept here.

    Where the storage is away, training continues, and says so: the next checkpoint is uploaded again.
    """
    if not job.storage:
        return
    try:
        storage, key = open_storage(job.storage), job.key("checkpoints", checkpoint.name)
        withdraw(key, storage=storage)  # of an earlier attempt, and perhaps damaged
        publish({"": checkpoint}, storage=storage, key=key)
        kept = {folder.name for folder in job.checkpoints.glob("step-*")}
        for name in set(_steps(job, storage)) - kept:
            withdraw(job.key("checkpoints", name), storage=storage)
    except ServiceError as error:
        note = f"{checkpoint.name} is not in the storage: {error}; training continues without it"
        report_event(job, NoteEvent(note=note))


def fetch_earlier_checkpoints(job: Job) -> None:
    """Fetch what the storage has kept before this node's newest: worker 0 decides what is kept on."""
    if not job.storage:
        return
    storage, newest = open_storage(job.storage), max((one.name for one in job.checkpoints.glob("step-*")), default="")
    for name in _steps(job, storage):
        if name < newest and not (job.checkpoints / name).is_dir():
            _fetch_checkpoint(job, name, storage)


def publish_results(job: Job) -> None:
    """Upload the results, and report that to the training's follower."""
    publish({"": job.results}, storage=open_storage(str(job.storage)), key=job.key("results"))
    write_file(job, job.published, "")


def pass_on_stop(job: Job, stop: threading.Event) -> None:
    """Set `stop` once the follower wants the workers to stop; a thread polls it."""
    if job.mailbox:
        threading.Thread(target=_watch, args=(job, stop), name="stop", daemon=True).start()


def _watch(job: Job, stop: threading.Event) -> None:
    while not stop.is_set():
        if is_stopping(job):
            stop.set()
        time.sleep(STOP_POLL_SECONDS)


def _fetch_newest_checkpoint(job: Job, storage: Storage) -> None:
    """Make the checkpoints of this node those of the storage: all workers have to start from the same one."""
    steps = _steps(job, storage)
    for folder in job.checkpoints.glob("step-*"):
        if folder.name not in steps:
            shutil.rmtree(folder)
    for name in reversed(steps):
        if (job.checkpoints / name).is_dir():
            return
        if _fetch_checkpoint(job, name, storage):
            return


def _fetch_checkpoint(job: Job, name: str, storage: Storage) -> bool:
    """Whether it came whole."""
    try:
        fetch(job.key("checkpoints", name), job.checkpoints / name, storage=storage)
    except ServiceError as error:
        report_event(job, NoteEvent(note=f"{name} is passed over: {error}"))
        return False
    return True


def _steps(job: Job, storage: Storage) -> list[str]:
    prefix = job.key("checkpoints")
    return [key.split("/")[-2] for key in storage.keys(f"{prefix}/") if key.endswith(f"/{MANIFEST}")]


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """One worker of a node at a time; the lock is given back by the system, however its holder ends."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
