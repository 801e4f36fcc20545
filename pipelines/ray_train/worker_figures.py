"""A worker's figures, every ten seconds: for the training's follower, and as metrics of Ray."""

import os
import platform
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace.pipelines.host.gpu import gpu_figures
from headrace.pipelines.host.logs import log_context
from headrace.pipelines.ray_train.training_events import WorkerSample

if TYPE_CHECKING:
    from headrace.components.training.observer import Figures

# Metrics of Ray are `ray_` and these names where Prometheus has them; infra/grafana shows them.
OF_WORKER: Mapping[str, str] = {
    "step_seconds": "Seconds of a step",
    "compute_seconds": "Seconds of a step before the exchange, this worker's own",
    "feeding_share": "Share of a step in which the worker waits for its batch",
    "waiting_share": "Share of a step in which gradients are exchanged, the wait for slower workers included",
    "examples_per_second": "Examples a second of this worker",
    "cpu_percent": "Use of the processor in percent of one core",
    "memory_mebibytes": "Resident memory in MiB",
    "gpu_percent": "Use of the GPU in percent",
    "gpu_memory_mebibytes": "Memory of the GPU in use in MiB",
    "gpu_watts": "Power of the GPU in watts",
}
OF_TRAINING: Mapping[str, str] = {
    "workers": "Workers of the present group",
    "restarts": "Groups that came after the first",
    "resumed_step": "The step that the present group continues from",
}
PREFIX = "headrace_"
INTERVAL_VARIABLE, INTERVAL_SECONDS = "HEADRACE_WORKER_SECONDS", 10.0


def worker_seconds() -> float:
    """How often each worker reports: HEADRACE_WORKER_SECONDS, 10 without it or where it is no number above 0."""
    try:
        seconds = float(os.environ.get(INTERVAL_VARIABLE, ""))
    except ValueError:
        return INTERVAL_SECONDS
    return seconds if seconds > 0 else INTERVAL_SECONDS


class WorkerFigures:
    """Completes what a worker measures of its steps, and gives it to Ray."""

    def __init__(self, rank: int, *, run: str) -> None:
        self._rank, self._host = rank, platform.node()
        self._gauges = _Gauges(OF_WORKER, {"run": run, "rank": str(rank), "host": self._host})

    def sample(self, measured: "Figures", *, num_workers: int) -> WorkerSample:
        """The figures of the moment, GPU included, after Ray has them."""
        figures = {name: value for name, value in measured.items() if name != "step"} | gpu_figures()
        for name, value in figures.items():
            self._gauges.set(name, value)
        place = {"rank": self._rank, "num_workers": num_workers, "host": self._host}
        return WorkerSample(**place, at_seconds=time.time(), step=int(measured["step"]), **figures)


class TrainingGauges:
    """Metrics of a training as a whole, set by the process that follows it."""

    def __init__(self, *, run: str) -> None:
        self._gauges = _Gauges(OF_TRAINING, {"run": run})

    def set(self, name: str, value: float) -> None:
        """Set one of `OF_TRAINING`."""
        self._gauges.set(name, value)


class _Gauges:
    """Ray's gauges by name, made when they are first set, with the pipeline's name as one more tag."""

    def __init__(self, known: Mapping[str, str], tags: Mapping[str, str]) -> None:
        self._known = known
        self._gauges: dict[str, Any] = {}
        self._tags = {"pipeline": log_context().get("pipeline", ""), **tags}

    def set(self, name: str, value: float) -> None:
        if name not in self._known:
            return
        if name not in self._gauges:
            self._gauges[name] = self._made(name)
        self._gauges[name].set(value)

    def _made(self, name: str) -> Any:
        from ray.util.metrics import Gauge

        gauge = Gauge(f"{PREFIX}{name}", description=self._known[name], tag_keys=tuple(self._tags))
        gauge.set_default_tags(self._tags)
        return gauge
