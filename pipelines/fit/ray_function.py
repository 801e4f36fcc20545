"""`headrace.train_function`: the same training as a function of a Ray Train trainer of one's own."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from headrace.components.errors import TrainingError
from headrace.components.training import checkpoints
from headrace.components.training.feeding.given_data import require_known_position
from headrace.components.training.plan import LARGEST_GLOBAL_BATCH
from headrace.pipelines.fit.given_splits import batch_size, given_splits, open_here
from headrace.pipelines.fit.program import own_function, validated_plan
from headrace.pipelines.ray_train.backend import rendezvous
from headrace.pipelines.ray_train.fit_data import given_batches
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.fit_worker import as_worker
from headrace.pipelines.ray_train.fit_worker import train_function as train_one_worker
from headrace.pipelines.ray_train.preemption import STOP, listen_again, watch_for_drain
from headrace.pipelines.ray_train.result_files import MODEL
from headrace.pipelines.ray_train.worker import Place, prepare_devices

if TYPE_CHECKING:
    import keras

    from headrace.components.training.checkpoints import Checkpoint
    from headrace.components.training.observer import Figures


def train_function(  # noqa: PLR0913 - each by its keyword
    build_model: "Callable[..., keras.Model]",
    *,
    train: Any,
    epochs: int,
    global_batch_size: int | None = None,
    validation: Any = None,
    label: str | None = None,
    weight: str | None = None,
    arguments: Mapping[str, JsonValue] | None = None,
    callbacks: "Callable[[], list[keras.callbacks.Callback]] | None" = None,
    jit_compile: bool = False,
    shuffle: bool = True,
    **plan: Any,
) -> Callable[[], None]:
    """What each worker of a `ray.train.DataParallelTrainer` calls to train as `fit` does, whose arguments these are.

    `train` and `validation` may be functions without arguments, which each worker calls for its data: all that `fit`
    takes, or a PyDataset or tf.data.Dataset of global batches. The trainer needs
    `backend_config=headrace.TensorflowBackendConfig()`, by which its workers find each other. Each epoch is reported to
    Ray with its metrics and a checkpoint, from which a group that Ray starts again continues with the exact next batch;
    the last one has model.keras, the model of the best epoch. A worker that gets SIGTERM, or whose node is drained,
    ends the group after the next step, whose checkpoint is reported first. Raises ParamsError as `fit` does.
    """
    given = dict(arguments or {})
    place, code = own_function(build_model, callbacks, given)
    for name, one in (("train", train), ("validation", validation)):
        require_known_position(one, name)
    settings = {"epochs": epochs, "global_batch_size": global_batch_size or LARGEST_GLOBAL_BATCH, **plan}
    settings.setdefault("best_by", "loss" if validation is None else "validation_loss")
    job = FitJob(
        run_name="ray-train",
        folder=Path(),  # one of each worker's own
        train=validated_plan(settings),
        sources=code.sources,
        data=Path(),
        file=place.file,
        function=place.name,
        arguments=given,
        callbacks=None if callbacks is None else callbacks.__name__,
        jit_compile=jit_compile,
        shuffle=shuffle,
    )
    data = {"train": train, "validation": validation}
    return partial(_train, job, data, global_batch_size, label=label, weight=weight)


def _train(
    job: FitJob, data: Mapping[str, Any], global_batch_size: int | None, *, label: str | None, weight: str | None
) -> None:
    import ray.train

    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), 0)
    if place.num_workers > 1 and rendezvous() is None:
        raise TrainingError(
            "the workers don't know of each other; give the trainer backend_config=headrace.TensorflowBackendConfig()"
        )
    if job.train.is_bitwise and place.num_workers != job.train.logical_shards:
        raise TrainingError(
            f"reproducible='bitwise' trains as {job.train.logical_shards} logical_shards, and the trainer has "
            f"{place.num_workers} workers; set ScalingConfig(num_workers={job.train.logical_shards}), of a share of a "
            "core each where there are fewer"
        )
    threads = prepare_devices(job.train, workers_on_node=context.get_local_world_size())
    place = Place(place.rank, place.num_workers, threads)
    made = {name: _made(one) for name, one in data.items()}
    batch_size(global_batch_size, window_examples=job.train.window_examples, **made)
    with tempfile.TemporaryDirectory(prefix="headrace-fit-") as folder:
        job = job.model_copy(update={"folder": Path(folder), "data": Path(folder) / "data"})
        splits = _splits(job, made, label=label, weight=weight)
        _restore(job)
        with as_worker(), _reported_when_stopped(job):
            final = train_one_worker(
                job,
                splits["train"],
                splits.get("validation"),
                worker=place.worker(job.train),
                observer=_observer(job),
            )
        _report_result(job, final, is_first=place.rank == 0)


def _splits(job: FitJob, made: Mapping[str, Any], *, label: str | None, weight: str | None) -> dict[str, Any]:
    """The splits that a worker trains on, of examples and of functions that make global batches."""
    batches = {name: given_batches(job, one, name) for name, one in made.items() if callable(one)}
    examples = {name: one for name, one in made.items() if not callable(one)}
    given = given_splits(examples, label=label, weight=weight, window_examples=job.train.window_examples)
    return batches | open_here(job, given)


def _made(data: Any) -> Any:
    """What a function returns; the function itself where that is global batches."""
    import keras
    import tensorflow as tf

    made = data() if callable(data) else data
    return data if isinstance(made, keras.utils.PyDataset | tf.data.Dataset) else made


def _restore(job: FitJob) -> None:
    """Put the checkpoint that Ray has of an earlier group where the training looks for it."""
    import ray.train

    if (checkpoint := ray.train.get_checkpoint()) is None:
        return
    with checkpoint.as_directory() as folder:
        state = checkpoints.stored(Path(folder)).state
        shutil.copytree(folder, checkpoints.step_folder(job.checkpoints, state.step))


def _observer(job: FitJob) -> Any:
    """Reports each epoch to Ray; SIGTERM and a drain of the node stop the training."""
    from headrace.components.training.observer import Observer

    def on_group() -> None:
        listen_again()
        watch_for_drain()

    def on_epoch_saved(epoch: int, metrics: "Figures") -> None:
        _report(job, {"epoch": epoch, **metrics})

    return Observer(stop=STOP, on_group=on_group, on_epoch_saved=on_epoch_saved)


@contextmanager
def _reported_when_stopped(job: FitJob) -> Iterator[None]:
    """Give Ray the checkpoint of the step after which all workers have stopped; it then starts another group."""
    from headrace.components.training.observer import Stopped

    try:
        yield
    except Stopped:
        _report(job, {})
        raise


def _report(job: FitJob, metrics: "Figures") -> None:
    """Report to Ray, from all workers as it expects; the first one has the newest checkpoint."""
    import ray.train
    from ray.train import Checkpoint as RayCheckpoint

    newest = max(job.checkpoints.glob("step-*"), default=None)
    ray.train.report(dict(metrics), checkpoint=None if newest is None else RayCheckpoint.from_directory(str(newest)))


def _report_result(job: FitJob, final: "Checkpoint", *, is_first: bool) -> None:
    """Report the best epoch's metrics, with a last checkpoint that has the model."""
    import ray.train
    from ray.train import Checkpoint as RayCheckpoint

    best = next((one for one in final.state.history if one["epoch"] == final.state.best_epoch), final.state.history[-1])
    checkpoint = None
    if is_first:
        folder = checkpoints.save(job.folder / "result", final)
        shutil.copyfile(job.results / MODEL, folder / MODEL)
        checkpoint = RayCheckpoint.from_directory(str(folder))
    ray.train.report({**best, "epoch": int(best["epoch"])}, checkpoint=checkpoint)
