"""What runs on every Ray Train worker of `headrace.fit`. TensorFlow is imported inside: it takes seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.ray_train.fit_data import splits_of
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.node import fetch_earlier_checkpoints
from headrace.pipelines.ray_train.result_files import MODEL, TENSORBOARD
from headrace.pipelines.ray_train.results import write_results
from headrace.pipelines.ray_train.worker import Place, reporting, run_on_worker

if TYPE_CHECKING:
    from headrace.components.training.checkpoints import Checkpoint
    from headrace.components.training.feeding.batch_source import Split
    from headrace.components.training.feeding.split_arrays import Columns
    from headrace.components.training.function_trainee import ModelFunction
    from headrace.components.training.loop import Worker
    from headrace.components.training.observer import Observer

_is_worker: list[bool] = []


def fit_on_worker(config: dict[str, str]) -> None:
    """Train this worker's part of the job in `config["job"]`; worker 0 reports each epoch and writes the results."""
    with as_worker():
        run_on_worker(FitJob.model_validate_json(config["job"]), _train)


@contextmanager
def as_worker() -> Iterator[None]:
    """Make `is_worker` true in the block, in which the code of a program is imported."""
    _is_worker.append(True)
    try:
        yield
    finally:
        _is_worker.pop()


def is_worker() -> bool:
    """Whether a worker's training is under way in this process."""
    return bool(_is_worker)


def _train(job: FitJob, place: Place) -> None:
    train, validation = splits_of(job)
    if place.rank == 0:
        fetch_earlier_checkpoints(job)
    train_function(job, train, validation, worker=place.worker(job.train), observer=reporting(job, place))


def train_function(
    job: FitJob, train: "Split", validation: "Split | None", *, worker: "Worker", observer: "Observer"
) -> "Checkpoint":
    """Train one worker's part; worker 0 writes the results. Returns the last training state."""
    from headrace.components.training.function_trainee import ModelFunction
    from headrace.components.training.loop import train_worker

    examples = some_examples(job, train)
    function = ModelFunction(
        OwnCode(job.sources),
        job.file,
        job.function,
        arguments=job.arguments,
        callbacks=job.callbacks,
        jit_compile=job.jit_compile,
    )
    with function.code.importable():
        if worker.rank == 0:
            function.require_saveable(examples)
        final = train_worker(
            train,
            validation,
            make=function.make(examples),
            plan=job.train,
            probe=True,
            shuffle=job.shuffle,
            worker=worker,
            folder=job.checkpoints,
            observer=observer,
        )
        if worker.rank == 0:
            write_results(job, final, final.state.history, add=partial(_add_results, job, function, examples, final))
    return final


def some_examples(job: FitJob, train: "Split") -> "Columns":
    """A few examples of what the model takes."""
    from headrace.components.training.feeding.batch_source import batch_source

    plan = job.train
    source = batch_source(
        train,
        global_batch_size=plan.global_batch_size,
        window_examples=plan.window_examples,
        seed=None,
        name="train",
    )
    return source.first_examples(2)


def _add_results(
    job: FitJob, function: "ModelFunction", examples: "Columns", final: "Checkpoint", folder: Path
) -> None:
    import keras

    from headrace.components.serving_model.keras_file import write_keras_file
    from headrace.components.training.tensorboard import write_tensorboard

    keras.utils.clear_session()  # names such as dense_3 would count the layers that were built before
    model = function.trained(examples, final.best_weights)
    write_keras_file(model, folder / MODEL, sources=job.sources)
    write_tensorboard(folder / TENSORBOARD, final.state.history, histograms=job.checkpoints, model=model, pictures={})
