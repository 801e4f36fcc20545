"""The training state as it grows, step by step and epoch by epoch."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from headrace.components.compatibility.keras_internals import seed_states
from headrace.components.errors import TrainingError
from headrace.components.models.gan import AdversarialNetworks
from headrace.components.training import checkpoints, moving_averages
from headrace.components.training.checkpoint_writer import CheckpointWriter
from headrace.components.training.checkpoints import Arrays, Begun, Checkpoint
from headrace.components.training.generated_samples import sample_images, write_samples
from headrace.components.training.histograms import weight_histograms, write_histograms
from headrace.components.training.observer import Observer, Stopped
from headrace.components.training.plan import Plan
from headrace.components.training.state import TrainingState, after_epoch, is_finished
from headrace.components.training.workers.exchange import Exchange
from headrace.components.training.workers.group import (
    Group,
    local_value,
    metric_state,
    require_equal_weights,
    restore_metric_state,
)
from headrace.components.training.workers.owned_optimizers import owned_optimizers
from headrace.components.training.workers.step_watch import StepWatch
from headrace.components.training.workers.worker_metrics import Meter, worker_figures

PROGRESS_SECONDS = 5.0


class Recorder(keras.callbacks.Callback):
    """Holds the training state; worker 0's also writes checkpoints and reports to the observer.

    `fit` is called within the block of `writer`. Weights of an earlier epoch that stay the best are in memory only
    where no checkpoint has them.

    Everything that all workers take part in (gathering, comparing, reading metrics) happens on all of them after the
    same step, because what it depends on is the same on all.
    """

    async_safe = True  # Keras need not turn each step's figures into numbers: they are not looked at

    def __init__(  # noqa: PLR0913 - each by its keyword
        self,
        state: TrainingState,
        exchange: Exchange,
        *,
        metrics: Arrays,
        plan: Plan,
        steps_per_epoch: int,
        examples_per_step: float,
        folder: Path,
        observer: Observer,
    ) -> None:
        super().__init__()
        self.state, self._metrics = state, metrics
        self._best_weights: Arrays | None = None  # of an earlier epoch, where there was no room for them
        self.writer = CheckpointWriter()
        self.group: Group | None = None  # set before `fit`
        self._plan, self._examples_per_step = plan, examples_per_step
        self._steps_per_epoch = steps_per_epoch
        self._exchange, self._folder, self._observer = exchange, folder, observer
        self._is_first = exchange.rank == 0
        self._is_ended_here = False  # by a callback of this worker, which the others may not know of yet
        self._first_step = 0  # of the present `fit`, within its first epoch
        self._meter = Meter()
        share = self._examples_per_step / exchange.num_workers
        self._watch = StepWatch(examples_per_step=share, interval_seconds=observer.worker_seconds)
        self._started_seconds = self._reported_seconds = time.monotonic()

    @property
    def steps_in_epoch(self) -> int:
        """How many steps of the present epoch are done."""
        return self.state.step - self.state.epoch * self._steps_per_epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Continue the clock and the metrics of an epoch that was begun before."""
        self._started_seconds = self._reported_seconds = time.monotonic()
        self._first_step = self.steps_in_epoch
        if self._metrics:
            restore_metric_state(self.model, self._metrics, self._exchange)
            self._metrics = ()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Pass on what somebody asked of this worker."""
        self._watch.begin_step()
        if self._observer.stop.is_set() and self.group is not None:
            self.group.ask_to_stop()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Write a checkpoint where one is due, or all stop where one was asked to."""
        self._watch.end_step()
        self._share_end()
        before, done = self.steps_in_epoch, min(self._first_step + batch + 1, self._steps_per_epoch)
        self.state = self.state.model_copy(update={"step": self.state.epoch * self._steps_per_epoch + done})
        self._report_progress(done)
        if self._watch.is_due() and self.group is not None:
            self._observer.on_worker({"step": self.state.step, **self._watch.read(self.group.times())})
        if done == self._steps_per_epoch:
            return  # the epoch's own checkpoint comes with its figures
        every = self._plan.checkpoints.every_steps
        is_stopped = self.group is not None and self.group.asked_to_stop
        if is_stopped or (every and done // every > before // every):
            self._save(within_epoch=True)
        if is_stopped:
            raise Stopped(f"after step {self.state.step}")

    def _share_end(self) -> None:
        """Have `model.stop_training`, which a callback of any worker may set, end the epoch of all after one step."""
        if self.group is None or self._exchange.num_workers == 1:
            return
        if self.model.stop_training:
            self.group.ask_to_end()
            self._is_ended_here = True
        self.model.stop_training = self.group.asked_to_end

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Validate the averages of the weights, where the optimizer keeps them."""
        moving_averages.swap(self.model)

    def on_test_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Train on, from the weights as they were."""
        moving_averages.swap(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the epoch to the state; keep the weights if they are the best so far."""
        figures = self._figures(logs or {})
        _require_finite(epoch + 1, figures)
        require_equal_weights(self.model, self._exchange, step=self.state.step)
        compute_seconds = self.group.compute_seconds() if self.group is not None else math.nan
        is_ended = float(self.model.stop_training or self._is_ended_here)
        gathered = self._exchange.gather(np.array([[*self._meter.read(), compute_seconds, is_ended]]))
        self.state = after_epoch(self.state, figures, plan=self._plan, steps_per_epoch=self._steps_per_epoch)
        self.state = self.state.model_copy(update={"is_ended": bool(gathered[:, 3].any())})
        self.model.stop_training = is_finished(self.state, plan=self._plan)
        if self._is_first:
            # First: an epoch may be reported twice, but none is left out.
            self._observer.on_epoch(epoch + 1, figures, worker_figures(gathered[:, :3]))
        self._save(within_epoch=False)
        if self._observer.awaits_checkpoints:
            self.writer.wait()
            self._observer.on_epoch_saved(epoch + 1, figures)
        if self.group is not None and self.group.asked_to_stop and not self.model.stop_training:
            raise Stopped(f"after epoch {epoch + 1}")

    def checkpoint(self) -> Checkpoint:
        """Return the training state at the end of the last epoch, with the best weights wherever they are.

        Those of an earlier epoch are read when they are asked for. Another worker than 0 has none of them where it does
        not see the folder of worker 0.
        """
        last = snapshot(self.model, self.state)
        if self.state.best_epoch == self.state.epoch:
            return last
        try:
            best = self._best_weights or checkpoints.best_weights(self._folder, self.state.best_epoch)
        except FileNotFoundError:
            if self._is_first:
                raise
            best = ()
        return replace(last, best_weights=best)

    def _figures(self, logs: Mapping[str, Any]) -> dict[str, float]:
        figures = {name.replace("val_", "validation_", 1): float(value) for name, value in logs.items()}
        seconds = self.state.seconds_in_epoch + time.monotonic() - self._started_seconds
        figures["seconds"] = round(seconds, 3)
        return figures

    def _save(self, *, within_epoch: bool) -> None:
        """Write a checkpoint's arrays; what is left of it is done beside the next steps.

        Where there is no room for it, training continues with the ones that there are.
        """
        self.writer.wait()
        metrics = metric_state(self.model, self._exchange) if within_epoch else ()  # on all workers
        if not self._is_first:
            return
        seconds = self.state.seconds_in_epoch + time.monotonic() - self._started_seconds if within_epoch else 0.0
        checkpoint = snapshot(self.model, self.state.model_copy(update={"seconds_in_epoch": seconds}), metrics)
        is_best = self.state.best_epoch == (0 if within_epoch else self.state.epoch)
        if not is_best:
            checkpoint = replace(checkpoint, best_weights=self._best_weights or ())
        try:
            begun = Begun(checkpoints.step_folder(self._folder, self.state.step), checkpoint)
        except OSError as error:
            if is_best:
                self._best_weights = checkpoint.weights
            self._note_missing(self.state, error)
            return
        has_best = is_best or self._best_weights is not None
        add = () if within_epoch else self._additions()
        finish = partial(self._finish, begun, self.state, is_best=is_best, has_best=has_best, add=add)
        self.writer.start(finish)

    def _finish(
        self, begun: Begun, state: TrainingState, *, is_best: bool, has_best: bool, add: Sequence[Callable[[], None]]
    ) -> None:
        """Do what is left of a checkpoint, by the writer's thread."""
        wanted = self._plan.checkpoints
        try:
            saved = begun.finish(None if has_best else checkpoints.best_weights(self._folder, state.best_epoch))
            self._best_weights = None
            checkpoints.keep(
                self._folder,
                last=wanted.keep_last,
                best_step=state.best_epoch * self._steps_per_epoch,
                every_hours=wanted.keep_every_hours,
            )
            self._observer.on_checkpoint(saved)
            for write in add:
                write()
        except OSError as error:
            if is_best and not begun.is_finished:
                self._best_weights = begun.weights()
            self._note_missing(state, error)
        finally:
            begun.discard()

    def _note_missing(self, state: TrainingState, error: OSError) -> None:
        self._observer.on_note(f"no checkpoint of step {state.step}: {error}; training continues without it")

    def _additions(self) -> Sequence[Callable[[], None]]:
        """What is written after the checkpoint of an epoch."""
        epoch = self.state.epoch
        add = [partial(write_histograms, self._folder, weight_histograms(self.model), epoch=epoch)]
        if isinstance(self.model, AdversarialNetworks):
            with moving_averages.swapped(self.model):
                images = sample_images(self.model.core, seed=self.state.seed)
            add.append(partial(write_samples, self._folder, images, epoch=epoch))
        return add

    def _report_progress(self, done: int) -> None:
        now = time.monotonic()
        if not self._is_first or now - self._reported_seconds < PROGRESS_SECONDS:
            return
        self._reported_seconds = now
        step_seconds = (now - self._started_seconds) / (done - self._first_step)
        steps_left = self._plan.epochs * self._steps_per_epoch - self.state.step
        self._observer.on_progress(
            {
                "epoch": self.state.epoch + 1,
                "step": done,
                "steps": self._steps_per_epoch,
                "examples_per_second": self._examples_per_step / step_seconds,
                "seconds_left_in_epoch": (self._steps_per_epoch - done) * step_seconds,
                "seconds_left": steps_left * step_seconds,
            }
        )


def snapshot(model: keras.Model, state: TrainingState, metrics: Arrays = ()) -> Checkpoint:
    """Return the training state, with the present values of the model's weights and its optimizer's variables.

    They stay as they are when training continues. Where the optimizer keeps averages, these are the weights, and the
    trained ones are among its variables: a checkpoint's weights are those that a model is evaluated with.
    """
    with moving_averages.swapped(model):
        optimizers = [_values(optimizer.variables) for optimizer in owned_optimizers(model)]
        others = [array for arrays in optimizers[1:] for array in arrays]
        random, weights = _values(seed_states(model)), _values(model.weights)
        return Checkpoint(state, weights, weights, optimizers[0], metrics, random, others)


def restore_late(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Restore what a model has for sure when its step is traced: random generators, and other optimizers' variables.

    Raises TrainingError for a checkpoint of another model. One that was written before they were kept changes nothing.
    """
    others = [variable for optimizer in owned_optimizers(model)[1:] for variable in optimizer.variables]
    for name, values, variables in (
        ("seed generators", checkpoint.random, seed_states(model)),
        ("variables of other optimizers", checkpoint.other_optimizers, others),
    ):
        if values and len(values) != len(variables):
            raise TrainingError(
                f"the checkpoint has {len(values)} {name}, the model {len(variables)}; train it from the start"
            )
        for variable, value in zip(variables, values, strict=False):
            variable.assign(value)


def _values(variables: Sequence[keras.Variable]) -> list[NDArray[Any]]:
    return [local_value(variable) for variable in variables]


def _require_finite(epoch: int, figures: Mapping[str, float]) -> None:
    losses = {name: figures[name] for name in ("loss", "validation_loss") if name in figures}
    if not all(map(math.isfinite, losses.values())):
        shown = ", ".join(f"{name} {value}" for name, value in losses.items())
        raise TrainingError(
            f"the loss of epoch {epoch} is not finite ({shown}); lower train.optimizer.learning_rate, or "
            "look for extreme values in the data"
        )
