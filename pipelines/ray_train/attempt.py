"""One attempt at a training: its workers on Ray, its MLflow run, and the log."""

import shutil
import time
from datetime import timedelta
from functools import partial

import structlog

from headrace.pipelines.ray_cluster.connect import ray_session
from headrace.pipelines.ray_train.progress_files import follow
from headrace.pipelines.ray_train.ray_trainer import OnWorker, fit
from headrace.pipelines.ray_train.slow_workers import SLOW_WORKER, SlowWorkers
from headrace.pipelines.ray_train.training_events import (
    EpochEvent,
    Event,
    GroupEvent,
    LostEvent,
    NoteEvent,
    ProgressEvent,
    ResumedEvent,
    RetryEvent,
    SamplesEvent,
)
from headrace.pipelines.ray_train.training_job import Job
from headrace.pipelines.ray_train.worker_figures import TrainingGauges
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
        slow, gauges = SlowWorkers(), TrainingGauges(run=job.run_name)
        fit(job, on_worker=on_worker, on_event=partial(_on_event, run=run, groups=groups, slow=slow, gauges=gauges))
    return groups


def _add_group(groups: list[dict[str, int]], event: Event) -> None:
    if isinstance(event, GroupEvent):
        groups.append(event.model_dump(exclude={"kind"}))


def _on_event(
    event: Event, *, run: TrainingRun, groups: list[dict[str, int]], slow: "SlowWorkers", gauges: "TrainingGauges"
) -> None:
    _add_group(groups, event)
    match event:
        case SamplesEvent():
            run.add_system(_system_metrics(event), step=max(sample.step for sample in event.samples))
            if named := slow.see(event.samples, now_seconds=time.monotonic()):
                log.warning(named)
                run.tag({SLOW_WORKER: named})
        case ResumedEvent():
            log.info("the training continues from a checkpoint", step=event.step)
            _add_state(run, gauges, step=event.step, resumed_step=event.step)
        case EpochEvent():
            run.add({"epoch": event.epoch, **event.metrics})
        case GroupEvent():
            log.info("a group of workers starts or continues", **event.model_dump(exclude={"kind"}))
            _add_state(run, gauges, step=0, workers=event.num_workers, restarts=len(groups) - 1)
        case ProgressEvent():
            log.info(f"epoch {event.epoch}", **_how_far(event))
        case NoteEvent():
            log.warning(event.note)
        case LostEvent():
            log.warning("a group of workers was lost", reason=event.reason)
        case RetryEvent():
            log.warning("out of memory; the training continues from its last checkpoint, once", reason=event.reason)
            run.tag({"retried_after": event.reason})


def _add_state(run: TrainingRun, gauges: TrainingGauges, *, step: int, **values: int) -> None:
    """Group sizes, restarts and resumed steps as metrics of Ray and of MLflow."""
    for name, value in values.items():
        gauges.set(name, value)
    run.add_system({f"system/{name}": float(value) for name, value in values.items()}, step=step)


def _system_metrics(event: SamplesEvent) -> dict[str, float]:
    """Figures of all workers by rank, as names of MLflow's system metrics."""
    return {
        f"system/worker_{sample.rank}/{name}": value
        for sample in event.samples
        for name, value in sample.figures.items()
    }


def _how_far(event: ProgressEvent) -> dict[str, str]:
    """Rate, and what is left of the epoch."""
    return {
        "step": f"{event.step}/{event.steps}",
        "examples_per_second": f"{event.examples_per_second:,.0f}",
        "epoch_done_in": str(timedelta(seconds=round(event.seconds_left_in_epoch))),
        "all_done_in": str(timedelta(seconds=round(event.seconds_left))),
    }
