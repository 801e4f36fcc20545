"""Where the time of this worker's steps goes, and what they take of the machine, interval by interval."""

import time

import numpy as np
from numpy.typing import NDArray

from headrace.components.training.workers.worker_metrics import Meter


class StepWatch:
    """Sums over the steps of an interval. A step costs two readings of a clock.

    `examples_per_step` is this worker's share of a global batch.
    """

    def __init__(self, *, examples_per_step: float, interval_seconds: float) -> None:
        self._examples_per_step, self._interval_seconds = examples_per_step, interval_seconds
        self._meter = Meter()
        self._times = np.zeros(4)
        self._step_seconds = 0.0
        self._began_seconds = self._read_seconds = time.monotonic()

    def begin_step(self) -> None:
        """Begin to time an execution of one or more steps."""
        self._began_seconds = time.monotonic()

    def end_step(self) -> None:
        """Add the execution."""
        self._step_seconds += time.monotonic() - self._began_seconds

    def is_due(self) -> bool:
        """Whether the interval is over."""
        return time.monotonic() - self._read_seconds >= self._interval_seconds

    def read(self, times: NDArray[np.float64]) -> dict[str, float]:
        """Return figures of the interval by name, and begin the next; `times` are those of `Group.times`.

        Seconds of a step, and of what is this worker's own (`compute_seconds`, before the exchange). Shares of it, from
        0 to 1: of the wait for its batch (`feeding_share`), and of the exchange of gradients (`waiting_share`: of
        equally fast workers the transfer, else the wait for the slowest). Examples a second; processor percent, memory.
        """
        if times[3] < self._times[3]:
            self._times = np.zeros(4)  # of another group: an epoch that was resumed has one of its own
        compute, feeding, exchange, steps = times - self._times
        self._times = times
        cpu_percent, mebibytes = self._meter.read()
        figures = {"cpu_percent": round(cpu_percent, 1), "memory_mebibytes": round(mebibytes, 1)}
        if steps and self._step_seconds > 0:
            figures |= {
                "step_seconds": self._step_seconds / steps,
                "compute_seconds": compute / steps,
                "feeding_share": min(1.0, feeding / self._step_seconds),
                "waiting_share": min(1.0, exchange / self._step_seconds),
                "examples_per_second": self._examples_per_step * steps / self._step_seconds,
            }
        self._step_seconds = 0.0
        self._read_seconds = time.monotonic()
        return {name: float(value) for name, value in figures.items()}
