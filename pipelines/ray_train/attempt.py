"""One attempt at a training: its workers on Ray, its MLflow run, and the log."""

import shutil
from datetime import timedelta
from functools import partial

import structlog

from headrace.pipelines.ray_cluster.connect import ray_session
from headrace.pipelines.ray_train.progress_files import follow
from headrace.pipelines.ray_train.ray_trainer import OnWorker, fit
from headrace.pipelines.ray_train.training_events import (
    EpochEvent,
    Event,
    GroupEvent,
    LostEvent,
    NoteEvent,
    ProgressEvent,
    RetryEvent,
)
from headrace.pipelines.ray_train.training_job import Job
from headrace.pipelines.tracking.training_run import TrainingRun

log = structlog.get_logger()


def attempt(job: Job, run: TrainingRun, *, on_worker: OnWorker) -> list[dict[str, int]]:
    """Train until the results are in `job.results`; the groups of workers that trained, one after the other.

    Where an earlier attempt ended between training and publishing, its results are picked up.
    """
    groups: list[dict[str, int]] = []
    for file in (job.failure, job.published, job.stop):  # of an earlier attempt
        file.unlink(missing_ok=True)
    if job.results.is_dir():
        log.info("an earlier attempt at this training has written its results: picked up", run_name=job.run_name)
        follow(job.progress, 0, lambda event: _add_group(groups, event))
        return groups
    shutil.rmtree(job.folder / "ray", ignore_errors=True)  # Ray's own notes; the checkpoints are beside them
    train = job.train
    with ray_session(num_workers=train.max_workers, cores_per_worker=train.cores_per_worker, use_gpu=train.use_gpu):
        fit(job, on_worker=on_worker, on_event=partial(_on_event, run=run, groups=groups))
    return groups


def _add_group(groups: list[dict[str, int]], event: Event) -> None:
    if isinstance(event, GroupEvent):
        groups.append(event.model_dump(exclude={"kind"}))


def _on_event(event: Event, *, run: TrainingRun, groups: list[dict[str, int]]) -> None:
    _add_group(groups, event)
    match event:
        case EpochEvent():
            run.add({"epoch": event.epoch, **event.metrics})
        case GroupEvent():
            log.info("a group of workers starts or continues", **event.model_dump(exclude={"kind"}))
        case ProgressEvent():
            log.info(f"epoch {event.epoch}", **_how_far(event))
        case NoteEvent():
            log.warning(event.note)
        case LostEvent():
            log.warning("a group of workers was lost", reason=event.reason)
        case RetryEvent():
            log.warning("out of memory; the training continues from its last checkpoint, once", reason=event.reason)
            run.tag({"retried_after": event.reason})


def _how_far(event: ProgressEvent) -> dict[str, str]:
    """Rate, and what is left of the epoch."""
    return {
        "step": f"{event.step}/{event.steps}",
        "examples_per_second": f"{event.examples_per_second:,.0f}",
        "epoch_done_in": str(timedelta(seconds=round(event.seconds_left_in_epoch))),
        "all_done_in": str(timedelta(seconds=round(event.seconds_left))),
    }
