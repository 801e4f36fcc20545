"""What every training does on a Ray Train worker. TensorFlow is imported inside: it takes seconds."""

import os
import platform
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from headrace.components.compatibility.keras_import import import_keras
from headrace.components.errors import EXIT_SERVICE, TrainingError, UserError
from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.headrace_lock import installed
from headrace.pipelines.host.host_problems import host_problem, is_out_of_memory
from headrace.pipelines.host.logs import configure_logging, log_as
from headrace.pipelines.host.usable_cores import usable_cores
from headrace.pipelines.ray_train.backend import rendezvous
from headrace.pipelines.ray_train.node import AnyJob, keep_in_storage, on_this_node, pass_on_stop
from headrace.pipelines.ray_train.preemption import STOP, listen_again, watch_for_drain
from headrace.pipelines.ray_train.progress_files import report_event, report_sample, write_file
from headrace.pipelines.ray_train.training_events import (
    EpochEvent,
    GroupEvent,
    NoteEvent,
    PlacedEvent,
    ProgressEvent,
    ResumedEvent,
)
from headrace.pipelines.ray_train.training_job import OUT_OF_MEMORY, Failure, Job, Kind
from headrace.pipelines.ray_train.worker_figures import WorkerFigures, worker_seconds

if TYPE_CHECKING:
    from headrace.components.training.loop import Worker
    from headrace.components.training.observer import Figures, Observer

log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """Which worker this is, of how many, and with how many threads each computes."""

    rank: int
    num_workers: int
    threads_per_worker: int

    @property
    def group(self) -> GroupEvent:
        """The group of workers, as it is reported."""
        return GroupEvent(num_workers=self.num_workers, threads_per_worker=self.threads_per_worker)

    def worker(self, plan: DistributedPlan) -> "Worker":
        """The worker at this place, as the training loop takes it."""
        from headrace.components.training.loop import Worker

        return Worker(self.rank, self.num_workers, plan.start_timeout_seconds, rendezvous())


def logging_as(on_worker: Callable[[dict[str, str]], None], context: Mapping[str, str]) -> Callable[..., None]:
    """What runs on each worker, whose log is that of the driver: of the same training, and with the worker's rank."""

    def run(config: dict[str, str]) -> None:
        import ray.train

        configure_logging()
        log_as(**context, rank=ray.train.get_context().get_world_rank())
        log.info("a worker starts", host=platform.node(), process=os.getpid())
        try:
            on_worker(config)
        except Exception as error:
            log.error("a worker ends", error=f"{type(error).__name__}: {error}")
            raise
        log.info("a worker is done")

    return run


def run_on_worker(job: AnyJob, train: Callable[[AnyJob, Place], None]) -> None:
    """Call `train` with the job as this node has it.

    A worker that lost the others raises, and Ray Train starts the group again, from the last checkpoint. Any other
    error is written to `job.failure` and ends the training: it would only come again.
    """
    import ray.train

    context = ray.train.get_context()
    rank = context.get_world_rank()
    if rank == 0:
        report_event(job, PlacedEvent())  # before the seconds of TensorFlow's import: the cluster had room

    from headrace.components.training.observer import Stopped

    try:
        _require_versions(job)
        job = on_this_node(job)
        threads = prepare_devices(job.train, workers_on_node=context.get_local_world_size())
        if rank == 0:
            pass_on_stop(job, STOP)
        train(job, Place(rank, context.get_world_size(), threads))
    except Stopped as stopped:
        write_file(job, job.preempted, str(stopped))
    except Exception as error:
        if _lost_the_others(error):
            raise
        _write_failure(job, rank, error)
        if is_out_of_memory(error):
            raise  # the controller ends the whole group and gives its resources back: another one follows


def _require_versions(job: Job) -> None:
    """Raise TrainingError where this node would train with other versions than those that name the training."""
    found = installed("train", also=OwnCode(job.sources).packages)
    differing = {name: (wanted, found.get(name)) for name, wanted in job.versions.items() if found.get(name) != wanted}
    if differing:
        said = ", ".join(f"{name} {found} instead of {wanted}" for name, (wanted, found) in differing.items())
        raise TrainingError(
            f"node {platform.node()} has {said}; another version is another model: install the same on all nodes"
        )


def reporting(job: Job, place: Place, *, shown: "Callable[[Figures], Mapping[str, float]]" = dict) -> "Observer":
    """Reports to the training's follower, an epoch's metrics as `shown` gives them; SIGTERM stops the training."""
    from headrace.components.training.observer import Observer

    def on_group() -> None:
        listen_again()
        watch_for_drain()
        if place.rank == 0:
            report_event(job, place.group)

    def on_epoch(epoch: int, metrics: "Figures", system: "Figures") -> None:
        report_event(job, EpochEvent(epoch=epoch, **shown(metrics), **system))

    def on_progress(metrics: "Figures") -> None:
        report_event(job, ProgressEvent.model_validate(metrics))

    def on_note(note: str) -> None:
        report_event(job, NoteEvent(note=note))

    def on_resume(step: int) -> None:
        report_event(job, ResumedEvent(step=step))

    figures = WorkerFigures(place.rank, run=job.run_name)

    def on_worker(measured: "Figures") -> None:
        sample = figures.sample(measured, num_workers=place.num_workers)
        report_sample(job, sample)

    return Observer(
        on_epoch,
        on_progress,
        on_note,
        STOP,
        on_group,
        lambda folder: keep_in_storage(job, folder),
        on_worker=on_worker,
        on_resume=on_resume,
        worker_seconds=worker_seconds(),
    )


def _lost_the_others(error: Exception) -> bool:
    import tensorflow as tf

    lost = (  # of workers with GPUs
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    messages = ("Collective ops is aborted", "ConnectionError: lost worker")
    return isinstance(error, (*lost, ConnectionError)) or any(message in str(error) for message in messages)


def _write_failure(job: Job, rank: int, error: Exception) -> None:
    failure = Failure(
        rank=rank,
        kind=_kind_of(error),
        message=str(error) if isinstance(error, UserError) else host_problem(error) or str(error),
        traceback="".join(traceback.format_exception(error)),
    )
    write_file(job, job.failure, failure.model_dump_json(indent=2) + "\n")


def _kind_of(error: Exception) -> Kind:
    if isinstance(error, UserError):
        return "host" if error.exit_code == EXIT_SERVICE else "mistake"
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return "host" if host_problem(error) else "bug"


def prepare_devices(train: DistributedPlan, *, workers_on_node: int) -> int:
    """Set and return the threads of this worker, by default its share of the node's cores; take GPU memory as needed.

    With more threads than its share, workers wait for each other. In a bitwise training each has one, since the threads
    of a sum decide its rounding. Raises TrainingError where a worker that trains with a GPU sees none, or several.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_keras()  # first: TensorFlow imports Keras, too, with all that Keras finds
    import tensorflow as tf

    asked = train.threads_per_worker or train.resources_per_worker.cores
    threads = 1 if train.is_bitwise else asked or max(1, usable_cores() // workers_on_node)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    devices = tf.config.list_physical_devices("GPU")
    if train.use_gpu:
        _require_one_gpu(len(devices))
    for device in devices:
        tf.config.experimental.set_memory_growth(device, True)
    return threads


def _require_one_gpu(found: int) -> None:
    visible = f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}"
    if not found:
        raise TrainingError(
            f"train.use_gpu is true, and Ray gave this worker a GPU ({visible}), but TensorFlow sees none; "
            "install tensorflow[and-cuda] and the driver on every GPU node, or set train.use_gpu: false"
        )
    if found > 1:
        raise TrainingError(
            f"TensorFlow sees {found} GPUs in this worker ({visible}), which trains with one; start a worker for each "
            "(train.num_workers), and let Ray set CUDA_VISIBLE_DEVICES"
        )
