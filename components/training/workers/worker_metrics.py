"""What training costs the workers: their own figures, gathered after each epoch."""

import os
import time

import numpy as np
import psutil
from numpy.typing import NDArray

BYTES_PER_MEBIBYTE = 2**20


class Meter:
    """Processor time and memory of this process since it was last read."""

    def __init__(self) -> None:
        self._process = psutil.Process(os.getpid())
        self._wall_seconds, self._cpu_seconds = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return processor use in percent of one core, and resident memory in MiB."""
        wall_seconds, cpu_seconds = time.monotonic(), time.process_time()
        share = (cpu_seconds - self._cpu_seconds) / max(wall_seconds - self._wall_seconds, 1e-9)
        self._wall_seconds, self._cpu_seconds = wall_seconds, cpu_seconds
        return 100 * share, self._process.memory_info().rss / BYTES_PER_MEBIBYTE


def worker_figures(gathered: NDArray[np.float64]) -> dict[str, float]:
    """Return figures by name from float64[num_workers, 3]: processor percent, MiB, seconds of computing per step.

    `step_time_skew` is the slowest worker's seconds of computing, before it waits for the others, by their mean: 1
    where all are equally fast. Names that begin with `system/` are in the system metrics of MLflow's pages.
    """
    figures = {}
    for rank, (cpu_percent, mebibytes, _) in enumerate(gathered):
        figures[f"system/worker_{rank}_cpu_percent"] = round(float(cpu_percent), 1)
        figures[f"system/worker_{rank}_memory_mebibytes"] = round(float(mebibytes), 1)
    seconds = gathered[:, 2]
    if np.isfinite(seconds).all() and seconds.mean() > 0:
        figures["system/step_time_skew"] = round(float(seconds.max() / seconds.mean()), 3)
        figures["system/compute_seconds_per_step"] = float(seconds.mean())
    return figures
