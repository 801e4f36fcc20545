"""One worker's training, from its part of the data to a history and the best weights."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.errors import TrainingError
from components.examples.settings import CategoryLabel, Label
from components.models.build import build
from components.models.settings import Model
from components.training import checkpoints
from components.training.batches import check_batches, steps_per_epoch
from components.training.checkpoints import Checkpoint, TrainingState
from components.training.feed import evaluation_batches, training_batches
from components.training.multiworker import trained_by_all_workers, worker_dataset
from components.training.optimizers import build_optimizer
from components.training.settings import Training

Logs = dict[str, float]
KEPT_CHECKPOINTS = 2  # the newest may be damaged: there is always one more


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


def train_worker(  # noqa: PLR0913 - what training needs, nothing bundled for its own sake
    train: Data,
    validation: Data,
    *,
    model: Model,
    label: Label,
    training: Training,
    worker: Worker,
    folder: Path,
    on_epoch: Callable[[int, Logs], None],
) -> Checkpoint:
    """Return the last training state, best weights included, after all epochs.

    Continues from the newest whole checkpoint in `folder`, where worker 0 writes one after every epoch. `on_epoch` is
    called on worker 0 with the epoch (1 is the first) and its figures. Raises TrainingError at the first epoch whose
    loss is not finite.
    """
    sizes = {"global_batch_size": training.global_batch_size, "num_workers": worker.num_workers}
    for split in (train, validation):
        check_batches(len(split.features), **sizes)
    keras.utils.set_random_seed(training.seed)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        core = build(model, input_shape=train.features.shape[1:], label=label)
        core.compile(build_optimizer(training.optimizer), _loss(label), metrics=_metrics(label))
        core.optimizer.build(core.trainable_variables)
    resumed, _ = checkpoints.newest(folder)
    recorder = _Recorder(core, training, steps_per_epoch(len(train.features), global_batch_size=sizes["global_batch_size"]),
                         folder, on_epoch, resumed, writes=worker.rank == 0)
    if resumed is not None:
        _restore(core, resumed)
    _fit(core, train, validation, strategy=strategy, training=training, worker=worker, recorder=recorder)
    return recorder.checkpoint()


def _fit(  # noqa: PLR0913
    core: keras.Model,
    train: Data,
    validation: Data,
    *,
    strategy: tf.distribute.Strategy,
    training: Training,
    worker: Worker,
    recorder: "_Recorder",
) -> None:
    size = training.global_batch_size
    place = {"rank": worker.rank, "num_workers": worker.num_workers, "global_batch_size": size}
    validation_steps = steps_per_epoch(len(validation.features), global_batch_size=size)
    first_epoch = recorder.state.epoch
    if first_epoch >= training.epochs:
        return
    batches = training_batches(train.features, train.labels, seed=training.seed, first_epoch=first_epoch, **place)
    with trained_by_all_workers(
        core,
        steps_per_epoch=recorder.steps,
        validation_steps=validation_steps,
        allow_untested_keras=training.allow_untested_keras,
    ):
        core.fit(
            worker_dataset(strategy, batches),
            steps_per_epoch=recorder.steps,
            initial_epoch=first_epoch,
            epochs=training.epochs,
            validation_data=worker_dataset(
                strategy, evaluation_batches(validation.features, validation.labels, **place)
            ),
            validation_steps=validation_steps,
            shuffle=False,  # the order of the batches is ours
            verbose=0,
            callbacks=[recorder],
        )


class _Recorder(keras.callbacks.Callback):
    """Holds the training state; on worker 0 also writes checkpoints and reports each epoch."""

    def __init__(  # noqa: PLR0913
        self,
        core: keras.Model,
        training: Training,
        steps: int,
        folder: Path,
        on_epoch: Callable[[int, Logs], None],
        resumed: Checkpoint | None,
        *,
        writes: bool,
    ) -> None:
        super().__init__()
        self.steps, self._core, self._folder, self._on_epoch, self._writes = steps, core, folder, on_epoch, writes
        self.state = resumed.state if resumed else TrainingState(
            epoch=0, step=0, seed=training.seed, best_epoch=0, best_loss=None, history=()
        )
        self._best_weights = resumed.best_weights if resumed else core.get_weights()
        self._started_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started_seconds = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the epoch to the state; keep the weights if they are the best so far."""
        figures = {name.replace("val_", "validation_", 1): float(value) for name, value in (logs or {}).items()}
        figures["seconds"] = round(time.monotonic() - self._started_seconds, 3)
        if not math.isfinite(figures["loss"]) or not math.isfinite(figures["validation_loss"]):
            raise TrainingError(
                f"the loss of epoch {epoch + 1} is not finite (training {figures['loss']}, validation "
                f"{figures['validation_loss']}); lower train.optimizer.learning_rate, or look for extreme values in the data"
            )
        best_loss = self.state.best_loss
        better = best_loss is None or figures["validation_loss"] < best_loss
        if better:
            self._best_weights = self._core.get_weights()
        self.state = self.state.model_copy(
            update={
                "epoch": epoch + 1,
                "step": (epoch + 1) * self.steps,
                "best_epoch": epoch + 1 if better else self.state.best_epoch,
                "best_loss": figures["validation_loss"] if better else best_loss,
                "history": (*self.state.history, {"epoch": float(epoch + 1), **figures}),
            }
        )
        if self._writes:
            self._save()
            self._on_epoch(epoch + 1, figures)

    def checkpoint(self) -> Checkpoint:
        """Return the present state."""
        return Checkpoint(
            state=self.state,
            weights=self._core.get_weights(),
            best_weights=self._best_weights,
            optimizer=[np.asarray(variable.numpy()) for variable in self._core.optimizer.variables],
        )

    def _save(self) -> None:
        now = self.checkpoint()
        checkpoints.save(
            checkpoints.epoch_folder(self._folder, self.state.epoch),
            state=now.state,
            weights=now.weights,
            best_weights=now.best_weights,
            optimizer=now.optimizer,
        )
        checkpoints.keep_last(self._folder, count=KEPT_CHECKPOINTS)


def _restore(core: keras.Model, checkpoint: Checkpoint) -> None:
    core.set_weights(checkpoint.weights)
    for variable, value in zip(core.optimizer.variables, checkpoint.optimizer, strict=True):
        variable.assign(value)


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
