"""What runs on every Ray Train worker. TensorFlow is imported inside: it takes seconds."""

import csv
import errno
import os
import platform
import shutil
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.components.compatibility.keras_import import import_keras
from headrace.components.errors import TrainingError, UserError
from headrace.components.files.atomic import replace_folder
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.headrace_lock import installed
from headrace.pipelines.host.host_problems import host_problem, is_out_of_memory
from headrace.pipelines.params import Train
from headrace.pipelines.ray_train.backend import rendezvous
from headrace.pipelines.ray_train.node import (
    fetch_earlier_checkpoints,
    keep_in_storage,
    on_this_node,
    pass_on_stop,
    publish_results,
)
from headrace.pipelines.ray_train.preemption import STOP, listen_again, watch_for_drain
from headrace.pipelines.ray_train.progress_files import report_event, write_file
from headrace.pipelines.ray_train.result_files import CHECKPOINT, CHECKPOINTS, HISTORY, MODEL, TENSORBOARD
from headrace.pipelines.ray_train.training_events import EpochEvent, GroupEvent, NoteEvent, PlacedEvent, ProgressEvent
from headrace.pipelines.ray_train.training_job import OUT_OF_MEMORY, Failure, Kind, TrainJob
from headrace.pipelines.ray_train.worker_data import remove_columns, split_columns, validation_columns

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM_POLL_SECONDS = 5.0
ROOM_TIMEOUT_SECONDS = 3600.0

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.components.models.own_inputs import InputGroup
    from headrace.components.training.checkpoints import Checkpoint
    from headrace.components.training.observer import Figures, Observer
    from headrace.components.transforms.fitted_table import FittedTable


def train_on_worker(config: dict[str, str]) -> None:
    """Train this worker's part of the job in `config["job"]`; worker 0 reports each epoch and writes the results.

    A worker that lost the others raises, and Ray Train starts the group again, from the last checkpoint. Any other
    error is written to `job.failure` and ends the training: it would only come again.
    """
    import ray.train

    job = TrainJob.model_validate_json(config["job"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if rank == 0:
        report_event(job, PlacedEvent())  # before the seconds of TensorFlow's import: the cluster had room

    from headrace.components.training.observer import Stopped

    try:
        _require_versions(job)
        job = on_this_node(job)
        threads = prepare_devices(job.train, workers_on_node=context.get_local_world_size())
        _train(job, rank=rank, num_workers=context.get_world_size(), threads=threads)
    except Stopped as stopped:
        write_file(job, job.preempted, str(stopped))
    except Exception as error:
        if _lost_the_others(error):
            raise
        _write_failure(job, rank, error)
        if is_out_of_memory(error):
            raise  # the controller ends the whole group and gives its resources back: another one follows


def _train(job: TrainJob, *, rank: int, num_workers: int, threads: int) -> None:
    from headrace.components.training.initial_weights import read_start_weights
    from headrace.components.training.loop import Worker
    from headrace.components.training.own_model_check import require_saveable
    from headrace.components.training.pipeline_trainee import train_pipeline
    from headrace.components.transforms.fitted_table import FittedTable

    fitted = FittedTable.model_validate_json(job.statistics.read_text(encoding="utf-8"))
    inputs, code = own_inputs(job, fitted), OwnCode(job.sources)
    train = split_columns(job, "train", fitted=fitted, inputs=inputs)
    validation = validation_columns(job, fitted=fitted, inputs=inputs)
    if rank == 0:
        pass_on_stop(job, STOP)
        fetch_earlier_checkpoints(job)
    group = GroupEvent(num_workers=num_workers, threads_per_worker=threads)
    with code.importable():
        if rank == 0 and isinstance(job.train.model, OwnModel):
            require_saveable(job.train.model, code, fitted=fitted, statistics=job.statistics)
        final = train_pipeline(
            train,
            validation,
            label=fitted.label,
            tokens=fitted.tokens,
            training=job.train,
            inputs=None if inputs is None else {name: group.shape for name, group in inputs.items()},
            code=code,
            worker=Worker(rank, num_workers, job.train.start_timeout_seconds, rendezvous()),
            folder=job.checkpoints,
            observer=_observer(job, fitted, rank=rank, group=group),
            start_weights=lambda: read_start_weights(job.start_weights, code) if job.start_weights else None,
        )
        remove_columns(job)  # every worker has its last batch: all have made the last step
        if rank == 0:
            _write_results_when_there_is_room(job, fitted, final)


def own_inputs(job: TrainJob, fitted: "FittedTable") -> "Mapping[str, InputGroup] | None":
    """The inputs of a model of a file by name; None for layers and architectures, which take one."""
    from headrace.components.models.own_inputs import input_groups

    model = job.train.model
    return input_groups(fitted, model.inputs) if isinstance(model, OwnModel) else None


def _require_versions(job: TrainJob) -> None:
    """Raise TrainingError where this node would train with other versions than those that name the training."""
    found = installed("train")
    differing = {name: (wanted, found.get(name)) for name, wanted in job.versions.items() if found.get(name) != wanted}
    if differing:
        said = ", ".join(f"{name} {found} instead of {wanted}" for name, (wanted, found) in differing.items())
        raise TrainingError(
            f"node {platform.node()} has {said}; another version is another model: install the same on all nodes"
        )


def _observer(job: TrainJob, fitted: "FittedTable", *, rank: int, group: GroupEvent) -> "Observer":
    """Reports to the training's follower, with the metrics in the label's own unit; SIGTERM stops it."""
    from headrace.components.training.observer import Observer

    def on_group() -> None:
        listen_again()
        watch_for_drain()
        if rank == 0:
            report_event(job, group)

    def on_epoch(epoch: int, metrics: "Figures", system: "Figures") -> None:
        report_event(job, EpochEvent(epoch=epoch, **in_label_unit(metrics, fitted), **system))

    def on_progress(metrics: "Figures") -> None:
        report_event(job, ProgressEvent.model_validate(metrics))

    def on_note(note: str) -> None:
        report_event(job, NoteEvent(note=note))

    return Observer(on_epoch, on_progress, on_note, STOP, on_group, lambda folder: keep_in_storage(job, folder))


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


def _write_failure(job: TrainJob, rank: int, error: Exception) -> None:
    failure = Failure(
        rank=rank,
        kind=_kind_of(error),
        message=str(error) if isinstance(error, UserError) else host_problem(error) or str(error),
        traceback="".join(traceback.format_exception(error)),
    )
    write_file(job, job.failure, failure.model_dump_json(indent=2) + "\n")


def _kind_of(error: Exception) -> Kind:
    if isinstance(error, UserError):
        return "mistake"
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return "host" if host_problem(error) else "bug"


def prepare_devices(train: Train, *, workers_on_node: int) -> int:
    """Set and return the threads of this worker, by default its share of the node's cores; take GPU memory as needed.

    With more threads than its share, workers wait for each other.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    import_keras()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = train.threads_per_worker or max(1, cores // workers_on_node)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    devices = tf.config.list_physical_devices("GPU")
    if train.use_gpu and not devices:
        raise TrainingError(
            "train.use_gpu is true, and Ray gave this worker a GPU "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}), but TensorFlow sees none; "
            "install tensorflow[and-cuda] and the driver on every GPU node, or set train.use_gpu: false"
        )
    for device in devices:
        tf.config.experimental.set_memory_growth(device, True)
    return threads


def in_label_unit(metrics: "Figures", fitted: "FittedTable") -> dict[str, float]:
    """The metrics with errors of a transformed number label back in the label's own unit."""
    scale = fitted.label_transform.scale if fitted.label_transform else 1.0
    factors = {"loss": scale**2, "root_mean_squared_error": scale, "mean_absolute_error": scale}
    return {
        name: value * (1.0 if scale == 1.0 else factors.get(name.removeprefix("validation_"), 1.0))
        for name, value in metrics.items()
    }


def _write_results_when_there_is_room(job: TrainJob, fitted: "FittedTable", final: "Checkpoint") -> None:
    """Write the results; on a full disk wait for room, because hours of training may be in them."""
    deadline_seconds = time.monotonic() + ROOM_TIMEOUT_SECONDS
    while True:
        try:
            return _write_results(job, fitted, final)
        except OSError as error:
            if error.errno not in NO_ROOM or time.monotonic() > deadline_seconds:
                raise
            report_event(job, NoteEvent(note=f"the results wait for room in {job.folder}: {error}"))
            time.sleep(ROOM_POLL_SECONDS)


def _write_results(job: TrainJob, fitted: "FittedTable", final: "Checkpoint") -> None:
    from headrace.components.training import checkpoints
    from headrace.components.training.first_images import first_pictures
    from headrace.components.training.generated_samples import keep_samples
    from headrace.components.training.tensorboard import write_tensorboard

    history = [in_label_unit(metrics, fitted) for metrics in final.state.history]
    with replace_folder(job.results) as folder:
        _write_history(folder / HISTORY, history)
        checkpoints.save(folder / CHECKPOINT, final)
        _keep_checkpoints(job.checkpoints, folder / CHECKPOINTS)
        core = _save_model(folder / MODEL, job, fitted, final)
        pictures = first_pictures(job.splits / "train", fitted=fitted)
        write_tensorboard(folder / TENSORBOARD, history, histograms=job.checkpoints, model=core, pictures=pictures)
        keep_samples(job.checkpoints, folder / TENSORBOARD)
    if job.storage:
        publish_results(job)


def _save_model(path: Path, job: TrainJob, fitted: "FittedTable", final: "Checkpoint") -> Any:
    """The best weights in a model of their own, outside the strategy, with the normalization in front."""
    import keras

    from headrace.components.serving_model.keras_file import write_keras_file
    from headrace.components.training.restored_model import restored_model

    keras.utils.clear_session()  # names such as dense_3 would count the layers that were built before
    keras.config.set_dtype_policy("float32")  # whatever it was trained in: it runs anywhere
    model, core = restored_model(
        final.best_weights,
        model=job.train.model,
        fitted=fitted,
        statistics=job.statistics,
        code=OwnCode(job.sources),
    )
    write_keras_file(model, path, sources=job.sources)
    return core


def _keep_checkpoints(source: Path, destination: Path) -> None:
    """Copy what was kept of the states on the way; a second name takes no room, and nobody changes these files."""
    source.mkdir(exist_ok=True)  # where there was never room for one
    others = shutil.ignore_patterns(".*", "histograms-*", "samples-*")
    shutil.copytree(source, destination, copy_function=_link, ignore=others)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # not every file system can
        shutil.copyfile(source, destination)


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**metrics, "epoch": int(metrics["epoch"])} for metrics in history)
