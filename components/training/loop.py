"""One worker's training, from its part of the data to the best weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.examples.settings import CategoryLabel, Label
from components.models.build import build
from components.training import checkpoints
from components.training.batches import require_enough, steps_per_epoch
from components.training.checkpoints import Checkpoint, TrainingState
from components.training.dropout import GlobalBatch
from components.training.feed import evaluation_batches, training_batches
from components.training.multiworker import trained_by_all_workers, worker_dataset
from components.training.optimizers import build_optimizer
from components.training.recorder import EpochLogger, Recorder, snapshot
from components.training.settings import Training


@dataclass(frozen=True)
class Data:
    """A split in memory: features float32[examples, ...], labels int32[examples] or float32[examples]."""

    features: NDArray[np.float32]
    labels: NDArray[Any]


@dataclass(frozen=True)
class Worker:
    """Which worker this is."""

    rank: int
    num_workers: int


def train_worker(
    train: Data,
    validation: Data,
    *,
    label: Label,
    training: Training,
    worker: Worker,
    folder: Path,
    on_epoch: EpochLogger,
) -> Checkpoint:
    """Return the last training state, best weights included, after all epochs.

    Continues from the newest whole checkpoint in `folder`, where worker 0 writes one after every epoch. `on_epoch` is
    called on worker 0 with the epoch (1 is the first) and its figures. Raises TrainingError at the first epoch whose
    loss is not finite, DataError where a split has fewer examples than there are workers.
    """
    for name, split in (("train", train), ("validation", validation)):
        require_enough(len(split.features), split=name, num_workers=worker.num_workers)
    resumed, _ = checkpoints.newest(folder)
    if resumed is not None and resumed.state.epoch >= training.epochs:
        return resumed
    core = _compiled(train, label=label, training=training, worker=worker)
    if resumed is not None:
        _restore(core, resumed)
    recorder = Recorder(
        resumed or snapshot(core, _beginning(training), core.get_weights()),
        steps_per_epoch=steps_per_epoch(len(train.features), global_batch_size=training.global_batch_size),
        folder=folder,
        on_epoch=on_epoch if worker.rank == 0 else None,
    )
    _fit(core, train, validation, training=training, worker=worker, recorder=recorder)
    return recorder.checkpoint()


def _compiled(train: Data, *, label: Label, training: Training, worker: Worker) -> keras.Model:
    """The model, with the same initial weights on any number of workers, in the scope of the strategy."""
    keras.utils.set_random_seed(training.seed)
    batch = GlobalBatch(
        examples=len(train.features),
        global_batch_size=training.global_batch_size,
        seed=training.seed,
        rank=worker.rank,
        num_workers=worker.num_workers,
    )
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        core = build(training.model, input_shape=train.features.shape[1:], label=label, dropout=batch.dropout)
        core.compile(build_optimizer(training.optimizer), _loss(label), metrics=_metrics(label))
        core.optimizer.build(core.trainable_variables)
    batch.iterations = core.optimizer.iterations
    return core


def _beginning(training: Training) -> TrainingState:
    return TrainingState(epoch=0, step=0, seed=training.seed, best_epoch=0, best_loss=None, history=())


def _restore(core: keras.Model, checkpoint: Checkpoint) -> None:
    core.set_weights(checkpoint.weights)
    for variable, value in zip(core.optimizer.variables, checkpoint.optimizer, strict=True):
        variable.assign(value)


def _fit(
    core: keras.Model, train: Data, validation: Data, *, training: Training, worker: Worker, recorder: Recorder
) -> None:
    size = training.global_batch_size
    part = {"rank": worker.rank, "num_workers": worker.num_workers, "global_batch_size": size}
    first_epoch = recorder.epochs_done
    batches = training_batches(train.features, train.labels, seed=training.seed, first_epoch=first_epoch, **part)
    validation_batches = evaluation_batches(validation.features, validation.labels, **part)
    steps = steps_per_epoch(len(train.features), global_batch_size=size)
    validation_steps = steps_per_epoch(len(validation.features), global_batch_size=size)
    with trained_by_all_workers(
        core,
        steps_per_epoch=steps,
        validation_steps=validation_steps,
        allow_untested_keras=training.allow_untested_keras,
    ):
        core.fit(
            worker_dataset(core.distribute_strategy, batches),
            steps_per_epoch=steps,
            initial_epoch=first_epoch,
            epochs=training.epochs,
            validation_data=worker_dataset(core.distribute_strategy, validation_batches),
            validation_steps=validation_steps,
            shuffle=False,  # the order of the batches is ours
            verbose=0,
            callbacks=[recorder],
        )


def _loss(label: Label) -> keras.losses.Loss:
    if isinstance(label, CategoryLabel):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.losses.MeanSquaredError()


def _metrics(label: Label) -> list[keras.metrics.Metric]:
    if isinstance(label, CategoryLabel):
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    return [
        keras.metrics.RootMeanSquaredError(name="root_mean_squared_error"),
        keras.metrics.MeanAbsoluteError(name="mean_absolute_error"),
    ]
