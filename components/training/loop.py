"""One worker's training, from its part of the data to the best weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from headrace.components.errors import DataError, TrainingError
from headrace.components.models.build import build_for_training, build_networks
from headrace.components.models.settings import Gan
from headrace.components.schema.labels import Label
from headrace.components.tasks.variants import task_of
from headrace.components.training import checkpoints, moving_averages
from headrace.components.training.batches import Windows
from headrace.components.training.checkpoints import Arrays, Checkpoint
from headrace.components.training.feeding.disk_splits import StoredColumns
from headrace.components.training.feeding.feed import serve_evaluation, serve_training
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.initial_weights import set_start_weights
from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset
from headrace.components.training.observer import Observer
from headrace.components.training.optimization.optimizers import build_optimizer
from headrace.components.training.recorder import Recorder, snapshot
from headrace.components.training.settings import Training
from headrace.components.training.state import TrainingState, is_finished
from headrace.components.training.workers.dropout import GlobalBatch
from headrace.components.training.workers.exchange import Exchange, joined
from headrace.components.training.workers.group import require_equal_weights
from headrace.components.training.workers.rendezvous import Rendezvous

Split = Columns | StoredColumns


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
class _Work:
    """What a worker trains on and how, with the cut of both splits into global batches."""

    train: Split
    validation: Split | None
    label: Label
    tokens: int | None
    training: Training
    worker: Worker

    @property
    def train_windows(self) -> Windows:
        return Windows(self.train.examples, self.training.global_batch_size, self.training.window_examples)

    @property
    def validation_windows(self) -> Windows | None:
        if self.validation is None:
            return None
        return Windows(self.validation.examples, self.training.global_batch_size, self.training.window_examples)

    @property
    def steps_per_epoch(self) -> int:
        return self.training.steps_per_epoch or self.train_windows.steps


def train_worker(  # noqa: PLR0913 - each by its keyword
    train: Split,
    validation: Split | None,
    *,
    label: Label,
    tokens: int | None = None,
    training: Training,
    worker: Worker,
    folder: Path,
    observer: Observer,
    start_weights: Callable[[], Arrays | None] = lambda: None,
) -> Checkpoint:
    """Return the last training state, best weights included, after all epochs or an early stop.

    `tokens` counts the ids of a text. An epoch is one pass over `train`, or `training.steps_per_epoch` steps of passes
    that follow each other. Without `validation`, epochs have figures of training alone. Continues from the newest whole
    checkpoint in `folder`, where worker 0 writes one after every epoch; without one it begins with `start_weights()` or
    random ones. Raises TrainingError for a loss that is not finite, DataError where a global batch has fewer examples
    than workers, ConnectionError for workers that don't start or are lost, Stopped after the checkpoint of
    `observer.stop`.
    """
    work = _Work(train, validation, label, tokens, training, worker)
    _require_enough(work)
    resumed = _newest(folder, observer if worker.rank == 0 else Observer())
    if resumed is not None and is_finished(resumed.state, training=training):
        return resumed  # as every other worker: nobody waits for one that has nothing to do
    with joined(
        worker.rendezvous, timeout_seconds=worker.start_timeout_seconds, compression=training.gradient_compression
    ) as exchange:
        observer.on_group()
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
    training = work.training
    core, batch = _compiled(work, exchange)
    if resumed is None and (weights := start_weights()) is not None:
        set_start_weights(core, weights)
    start = resumed or snapshot(core, TrainingState(seed=training.seed), core.get_weights())
    if exchange.rank == 0:
        _replay_epochs(start, observer)
    _restore(core, exchange, start)
    recorder = Recorder(
        start, exchange, training=training, windows=work.train_windows, folder=folder, observer=observer
    )
    if recorder.steps_in_epoch:
        _fit(core, batch, work, exchange, recorder, epochs=start.state.epoch + 1)
    if not is_finished(recorder.state, training=training):
        _fit(core, batch, work, exchange, recorder, epochs=training.epochs)
    return recorder.checkpoint()


def _replay_epochs(start: Checkpoint, observer: Observer) -> None:
    """Report the finished epochs again: the process that received them before may be gone."""
    for figures in start.state.history:
        observer.on_epoch(int(figures["epoch"]), {name: figures[name] for name in figures.keys() - {"epoch"}}, {})


def _require_enough(work: _Work) -> None:
    for split, windows in (("train", work.train_windows), ("validation", work.validation_windows)):
        if windows is not None and windows.smallest_batch < work.worker.num_workers:
            raise DataError(
                f"the {split} split has {windows.examples} examples, and global batches of as few as "
                f"{windows.smallest_batch} for {work.worker.num_workers} workers; lower train.num_workers, raise "
                "train.global_batch_size, or change the split's fractions"
            )


def _newest(folder: Path, observer: Observer) -> Checkpoint | None:
    """The newest whole checkpoint; says which it passed over."""
    checkpoint, passed_over = checkpoints.newest(folder)
    going_on = (
        "no earlier one: training starts over" if checkpoint is None else f"step {checkpoint.state.step} is whole"
    )
    for reason in passed_over:
        observer.on_note(f"{reason}; {going_on}")
    return checkpoint


def _compiled(work: _Work, exchange: Exchange) -> tuple[keras.Model, GlobalBatch]:
    """The model, with the same initial weights on any number of workers, and the source of its masks."""
    training, windows, worker, task = work.training, work.train_windows, work.worker, task_of(work.label)
    keras.utils.set_random_seed(training.seed)
    keras.config.set_dtype_policy(training.precision)
    batch = GlobalBatch(windows, seed=training.seed, rank=worker.rank, num_workers=worker.num_workers)
    with exchange.strategy.scope():
        core = _model(work, batch)
        core.compile(
            build_optimizer(training.optimizer, steps_per_epoch=work.steps_per_epoch, epochs=training.epochs),
            task.loss(label_smoothing=training.label_smoothing),
            metrics=task.epoch_metrics(),
            steps_per_execution=training.steps_per_execution,
            jit_compile=training.jit_compile,
        )
        core.optimizer.build(core.trainable_variables)
    return core, batch


def _model(work: _Work, batch: GlobalBatch) -> keras.Model:
    output = task_of(work.label).output(work.tokens)
    if isinstance(gan := work.training.model.architecture, Gan):
        return build_networks(
            gan,
            image_shape=work.train.shape,
            classes=output.units,
            dropout=batch.dropout,
            drop_connect=batch.drop_connect,
            noise=batch.noise(gan.noise),
            label_smoothing=work.training.label_smoothing,
        )
    return build_for_training(
        work.training.model,
        input_shape=work.train.shape,
        output=output,
        tokens=work.tokens,
        dropout=batch.dropout,
        drop_connect=batch.drop_connect,
        first=_first_layer(work, batch),
    )


def _first_layer(work: _Work, batch: GlobalBatch) -> keras.layers.Layer | None:
    if len(work.train.shape) == 2:  # copies of each example
        return batch.choose()
    augment = work.training.model.augment
    return None if augment is None else batch.augment(augment)


def _restore(core: keras.Model, exchange: Exchange, checkpoint: Checkpoint) -> None:
    core.set_weights(checkpoint.weights)
    for variable, value in zip(core.optimizer.variables, checkpoint.optimizer, strict=True):
        variable.assign(value)
    moving_averages.swap(core)  # a checkpoint has them the other way round
    # Not all may have found the same checkpoint whole: better now than after an epoch.
    require_equal_weights(core, exchange, step=checkpoint.state.step)


def _fit(
    core: keras.Model, batch: GlobalBatch, work: _Work, exchange: Exchange, recorder: Recorder, *, epochs: int
) -> None:
    """Keras's own `fit` from where the recorder stands to the end of epoch `epochs`."""
    part = {"rank": work.worker.rank, "num_workers": work.worker.num_workers}
    seed, step = work.training.seed, recorder.state.step
    batches = serve_training(work.train, work.train_windows, seed=seed, first_step=step, **part)
    steps, windows = work.steps_per_epoch - recorder.steps_in_epoch, work.validation_windows
    validation: dict[str, Any] = {}
    if work.validation is not None and windows is not None:
        validation_batches = serve_evaluation(work.validation, windows, **part)
        validation = {
            "validation_data": worker_dataset(validation_batches),
            "validation_steps": windows.steps,
        }
    with (
        moving_averages.trained_weights_stay(core),
        trained_by_all_workers(
            core,
            exchange,
            steps_per_epoch=steps,
            validation_steps=validation.get("validation_steps", 1),
            allow_untested_keras=work.training.allow_untested_keras,
        ) as recorder.group,
    ):
        batch.begin(recorder.state.step, recorder.group)
        core.fit(
            worker_dataset(batches),
            steps_per_epoch=steps,
            initial_epoch=recorder.state.epoch,
            epochs=epochs,
            **validation,
            shuffle=False,  # the order of the batches is ours
            verbose=0,
            callbacks=[recorder],
        )
