"""Callbacks that receive the progress of a training, and a flag that ends it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Figures = Mapping[str, float]


def _nobody(*_: Any) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Observer:
    """What worker 0 reports: metrics after each epoch, progress, and notes for a user; `stop` is any worker's.

    `on_epoch` takes the epoch (1 is the first), its figures and those of the workers themselves; `on_progress` figures
    by name: epoch, step, steps, examples_per_second, seconds_left_in_epoch, seconds_left. `stop` may be set from any
    thread. `on_group` is called on every worker once it has found the others, and TensorFlow has put its own signal
    handlers in place; `on_checkpoint` on worker 0 with the folder of each checkpoint, whole, by the thread that writes
    them; `on_epoch_saved` on every worker, with what `on_epoch` takes first, once the epoch's checkpoint is written,
    for which training waits where it is given; `on_worker` on every worker, every `worker_seconds`, with what
    `StepWatch.read` gives; `on_resume` on worker 0 with the step that it continues from. Notes come by any thread.
    """

    on_epoch: Callable[[int, Figures, Figures], None] = _nobody
    on_progress: Callable[[Figures], None] = _nobody
    on_note: Callable[[str], None] = _nobody
    stop: threading.Event = field(default_factory=threading.Event)
    on_group: Callable[[], None] = _nobody
    on_checkpoint: Callable[[Path], None] = _nobody
    on_epoch_saved: Callable[[int, Figures], None] = _nobody
    on_worker: Callable[[Figures], None] = _nobody
    on_resume: Callable[[int], None] = _nobody
    worker_seconds: float = 10.0

    @property
    def awaits_checkpoints(self) -> bool:
        """Whether an epoch's checkpoint is to be written before training continues."""
        return self.on_epoch_saved is not _nobody


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """Training ended before its time because a worker was asked to; the checkpoint of its last step is written."""
