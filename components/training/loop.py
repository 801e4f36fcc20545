"""One worker's training, from its part of the data to the best weights."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.errors import TrainingError
from headrace.components.training import checkpoints, moving_averages
from headrace.components.training.checkpoints import Arrays, Checkpoint
from headrace.components.training.equality_probe import explained, probe_differences
from headrace.components.training.feeding.batch_source import BatchSource, Part, Split, batch_source
from headrace.components.training.initial_weights import set_start_weights
from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset
from headrace.components.training.observer import Observer
from headrace.components.training.plan import Plan
from headrace.components.training.recorder import Recorder, restore_late
from headrace.components.training.state import TrainingState, is_finished
from headrace.components.training.workers.dropout import GlobalBatch
from headrace.components.training.workers.exchange import Exchange, joined
from headrace.components.training.workers.group import require_equal_weights
from headrace.components.training.workers.rendezvous import Rendezvous


@dataclass(frozen=True)
class Worker:
    """Which worker this is, and where and how long it waits for the others at the start."""

    rank: int
    num_workers: int
    start_timeout_seconds: float = 180.0
    rendezvous: Rendezvous | None = None  # one worker needs none

    def __post_init__(self) -> None:
        place = (self.rendezvous.rank, self.rendezvous.num_workers) if self.rendezvous else (0, 1)
        if (self.rank, self.num_workers) != place:
            raise TrainingError(
                f"received worker {self.rank} of {self.num_workers}, and a rendezvous as worker {place[0]} of "
                f"{place[1]}; make it with headrace.components.training.workers.rendezvous.listen on every worker"
            )


@dataclass(frozen=True)
class Trainee:
    """A compiled model, how it takes the features of a batch, and callbacks of its own."""

    model: keras.Model
    takes: Callable[[Any], Any] = lambda features: features
    callbacks: Sequence[keras.callbacks.Callback] = ()


MakeTrainee = Callable[[GlobalBatch, int], Trainee]  # from what draws for the global batch, and steps per epoch


@dataclass(frozen=True)
class _Work:
    """What a worker trains on and how, both splits as global batches."""

    train: BatchSource
    validation: BatchSource | None
    make: MakeTrainee
    plan: Plan
    worker: Worker

    @property
    def steps_per_epoch(self) -> int:
        return self.plan.steps_per_epoch or self.train.steps

    @property
    def sources(self) -> list[BatchSource]:
        return [self.train] if self.validation is None else [self.train, self.validation]

    @property
    def part(self) -> Part:
        return Part(self.worker.rank, self.worker.num_workers)


class WorkerArguments(TypedDict):
    """What a worker is given besides its data and what is trained."""

    worker: Worker
    folder: Path
    observer: Observer
    start_weights: NotRequired[Callable[[], Arrays | None]]


def train_worker(  # noqa: PLR0913 - each by its keyword
    train: Split,
    validation: Split | None,
    *,
    make: MakeTrainee,
    plan: Plan,
    worker: Worker,
    folder: Path,
    observer: Observer,
    start_weights: Callable[[], Arrays | None] = lambda: None,
    probe: bool = False,
    shuffle: bool = True,
) -> Checkpoint:
    """The last training state, after all epochs or an early stop; best weights as `Recorder.checkpoint` gives them.

    `make` is called once, on every worker with the same random seed; `train_pipeline` has what a pipeline trains.
    An epoch is one pass over `train`, or `plan.steps_per_epoch` steps of passes that follow each other. Without
    `shuffle`, examples keep their own order. Without `validation`, epochs have figures of training alone. Continues
    from the newest whole checkpoint in `folder`, where worker 0 writes one after every epoch; without one it begins
    with `start_weights()` or random ones. With `probe`, several workers first try a small step, as `plan.equality`
    says. Raises TrainingError for a loss that is not finite, DataError where a global batch has fewer examples than
    workers or where theirs are not the same, ConnectionError for workers that don't start or are lost, Stopped after
    the checkpoint of `observer.stop`.
    """
    batches = partial(batch_source, global_batch_size=plan.global_batch_size, window_examples=plan.window_examples)
    work = _Work(
        batches(train, seed=plan.seed if shuffle else None, name="train"),
        None if validation is None else batches(validation, seed=None, name="validation"),
        make,
        plan,
        worker,
    )
    for source in work.sources:
        source.require_enough(num_workers=worker.num_workers)
    resumed = _newest(folder, observer if worker.rank == 0 else Observer())
    if resumed is not None and is_finished(resumed.state, plan=plan):
        return resumed.in_memory()  # as every other worker: nobody waits for one that has nothing to do
    with joined(
        worker.rendezvous, timeout_seconds=worker.start_timeout_seconds, compression=plan.gradient_compression
    ) as exchange:
        observer.on_group()
        for source in work.sources:
            source.require_same(exchange)
        if probe and resumed is None and plan.equality != "off" and exchange.num_workers > 1:
            _probe(work, exchange, observer)
        return _train(work, exchange, resumed, folder=folder, observer=observer, start_weights=start_weights)


def _train(
    work: _Work,
    exchange: Exchange,
    resumed: Checkpoint | None,
    *,
    folder: Path,
    observer: Observer,
    start_weights: Callable[[], Arrays | None],
) -> Checkpoint:
    plan = work.plan
    trainee, batch = _made(work, exchange)
    model, state = trainee.model, TrainingState(seed=plan.seed) if resumed is None else resumed.state
    restores: list[Callable[[], None]] = []
    if resumed is None:
        _set_start_weights(model, start_weights)
    else:
        if exchange.rank == 0:
            observer.on_resume(resumed.state.step)
            _replay_epochs(resumed.state, observer)
        _restore(model, resumed)
        restores.append(partial(restore_late, model, resumed))
    # Not all may have found the same checkpoint whole: better now than after an epoch.
    require_equal_weights(model, exchange, step=state.step)
    recorder = Recorder(
        state,
        exchange,
        metrics=() if resumed is None else list(resumed.metrics),
        plan=plan,
        steps_per_epoch=work.steps_per_epoch,
        examples_per_step=work.train.examples_per_step,
        folder=folder,
        observer=observer,
    )
    with recorder.writer:
        if recorder.steps_in_epoch:
            _fit(trainee, batch, work, exchange, recorder, epochs=state.epoch + 1, restores=restores)
        if not is_finished(recorder.state, plan=plan):
            _fit(trainee, batch, work, exchange, recorder, epochs=plan.epochs, restores=restores)
    exchange.gather(np.zeros(0))  # all checkpoints are written, of which other workers may read the best weights
    return recorder.checkpoint()


def _probe(work: _Work, exchange: Exchange, observer: Observer) -> None:
    """Compare a small step with one process's; raise TrainingError, or note it, where they differ."""

    def make(batch: GlobalBatch) -> tuple[keras.Model, Callable[[Any], Any]]:
        trainee = work.make(batch, work.steps_per_epoch)
        return trainee.model, trainee.takes

    is_low_precision = keras.config.dtype_policy().name != "float32"
    differences = probe_differences(make, work.train, exchange, plan=work.plan, is_low_precision=is_low_precision)
    if not differences:
        return
    said = explained(differences, num_workers=exchange.num_workers)
    if work.plan.equality == "require":
        raise TrainingError(said)
    if exchange.rank == 0:
        observer.on_note(said)


def _replay_epochs(state: TrainingState, observer: Observer) -> None:
    """Report the finished epochs again: the process that received them before may be gone."""
    for figures in state.history:
        observer.on_epoch(int(figures["epoch"]), {name: figures[name] for name in figures.keys() - {"epoch"}}, {})


def _newest(folder: Path, observer: Observer) -> Checkpoint | None:
    """The newest whole checkpoint; says which it passed over."""
    checkpoint, passed_over = checkpoints.newest(folder)
    going_on = (
        "no earlier one: training starts over" if checkpoint is None else f"step {checkpoint.state.step} is whole"
    )
    for reason in passed_over:
        observer.on_note(f"{reason}; {going_on}")
    return checkpoint


def _made(work: _Work, exchange: Exchange) -> tuple[Trainee, GlobalBatch]:
    """What is trained, with the same initial weights on any number of workers, and the source of its draws."""
    worker, seed = work.worker, work.plan.seed
    keras.utils.set_random_seed(seed)
    batch = GlobalBatch(work.train.windows, seed=seed, rank=worker.rank, num_workers=worker.num_workers)
    with exchange.strategy.scope():
        trainee = work.make(batch, work.steps_per_epoch)
        trainee.model.optimizer.build(trainee.model.trainable_variables)
    return trainee, batch


def _set_start_weights(core: keras.Model, start_weights: Callable[[], Arrays | None]) -> None:
    if (weights := start_weights()) is not None:
        set_start_weights(core, weights)


def _restore(core: keras.Model, checkpoint: Checkpoint) -> None:
    for variables, values in ((core.weights, checkpoint.weights), (core.optimizer.variables, checkpoint.optimizer)):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(_copied(value))
    moving_averages.swap(core)  # a checkpoint has them the other way round


def _copied(value: NDArray[Any]) -> tf.Tensor:
    """A value in memory of TensorFlow's own: else a variable would stay in NumPy's, and its former place stay taken."""
    with tf.device("CPU"):
        return tf.raw_ops.DeepCopy(x=value)


def _fit(
    trainee: Trainee,
    batch: GlobalBatch,
    work: _Work,
    exchange: Exchange,
    recorder: Recorder,
    *,
    epochs: int,
    restores: list[Callable[[], None]],
) -> None:
    """Keras's own `fit` from where the recorder stands to the end of epoch `epochs`.

    What is left of `restores` is called before the first step, when it is traced and all variables are there.
    """
    model, first_step = trainee.model, recorder.state.step
    steps = work.steps_per_epoch - recorder.steps_in_epoch
    epochs_left = epochs - recorder.state.epoch
    steps_left = steps + (epochs_left - 1) * work.steps_per_epoch
    with ExitStack() as stack:
        batches = stack.enter_context(work.train.training(work.part, first_step=first_step, steps=steps_left))
        validation: dict[str, Any] = {}
        if work.validation is not None:
            validation_batches = stack.enter_context(work.validation.evaluation(work.part, passes=epochs_left))
            validation = {
                "validation_data": worker_dataset(_taken(validation_batches, trainee)),
                "validation_steps": work.validation.steps,
            }
        stack.enter_context(moving_averages.trained_weights_stay(model))
        recorder.group = stack.enter_context(
            trained_by_all_workers(
                model,
                exchange,
                steps_per_epoch=steps,
                validation_steps=validation.get("validation_steps", 1),
                known=None if work.train.windows is None else batch.place,
                allow_untested_keras=work.plan.allow_untested_keras,
            )
        )
        batch.begin(first_step, recorder.group)
        recorder.group.once_traced = restores.pop() if restores else None
        model.fit(
            worker_dataset(_taken(batches, trainee)),
            steps_per_epoch=steps,
            initial_epoch=recorder.state.epoch,
            epochs=epochs,
            **validation,
            shuffle=False,  # the order of the batches is ours
            verbose=0,
            callbacks=[*trainee.callbacks, *work.train.checks(exchange, first_step=first_step), recorder],
        )


def _taken(batches: tf.data.Dataset, trainee: Trainee) -> tf.data.Dataset:
    """Batches with the features as the model takes them."""
    return batches.map(lambda features, *others: (trainee.takes(features), *others))
