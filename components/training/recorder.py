"""The training state as it grows, epoch by epoch."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from components.errors import TrainingError
from components.training import checkpoints
from components.training.checkpoints import Checkpoint, TrainingState

KEPT_CHECKPOINTS = 2  # the newest may be damaged: there is always one more
EpochLogger = Callable[[int, dict[str, float]], None]


class Recorder(keras.callbacks.Callback):
    """Holds the training state; worker 0's also writes a checkpoint and reports the figures after each epoch."""

    def __init__(self, start: Checkpoint, *, steps_per_epoch: int, folder: Path, on_epoch: EpochLogger | None) -> None:
        super().__init__()
        self._state, self._best_weights = start.state, start.best_weights
        self._steps_per_epoch, self._folder, self._on_epoch = steps_per_epoch, folder, on_epoch
        self._started_seconds = 0.0

    @property
    def epochs_done(self) -> int:
        """How many epochs are done."""
        return self._state.epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self._started_seconds = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the epoch to the state; keep the weights if they are the best so far."""
        figures = {name.replace("val_", "validation_", 1): float(value) for name, value in (logs or {}).items()}
        figures["seconds"] = round(time.monotonic() - self._started_seconds, 3)
        _require_finite(epoch + 1, figures)
        best_loss = self._state.best_loss
        if best_loss is None or figures["validation_loss"] < best_loss:
            self._best_weights = self.model.get_weights()
            best = {"best_epoch": epoch + 1, "best_loss": figures["validation_loss"]}
        else:
            best = {}
        done = {"epoch": epoch + 1, "step": (epoch + 1) * self._steps_per_epoch}
        history = (*self._state.history, {"epoch": float(epoch + 1), **figures})
        self._state = self._state.model_copy(update={**done, **best, "history": history})
        if self._on_epoch is not None:
            self._on_epoch(epoch + 1, figures)  # first: an epoch may be told twice, but none is left out
            checkpoints.save(checkpoints.epoch_folder(self._folder, epoch + 1), self.checkpoint())
            checkpoints.keep_last(self._folder, count=KEPT_CHECKPOINTS)

    def checkpoint(self) -> Checkpoint:
        """Return the present training state."""
        return snapshot(self.model, self._state, self._best_weights)


def snapshot(model: keras.Model, state: TrainingState, best_weights: checkpoints.Arrays) -> Checkpoint:
    """Return the training state with copies of the model's weights and its optimizer's variables."""
    optimizer = [np.asarray(variable.numpy()) for variable in model.optimizer.variables]
    return Checkpoint(state=state, weights=model.get_weights(), best_weights=best_weights, optimizer=optimizer)


def _require_finite(epoch: int, figures: dict[str, float]) -> None:
    if not math.isfinite(figures["loss"]) or not math.isfinite(figures["validation_loss"]):
        raise TrainingError(
            f"the loss of epoch {epoch} is not finite (training {figures['loss']}, "
            f"validation {figures['validation_loss']}); "
            "lower train.optimizer.learning_rate, or look for extreme values in the data"
        )
