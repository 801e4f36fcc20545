"""Run one training on Ray Train and follow it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from components.errors import TrainingError
from pipelines.cluster.backend import TensorflowBackendConfig
from pipelines.cluster.connect import is_remote
from pipelines.cluster.job import TrainJob
from pipelines.cluster.worker import train_on_worker

POLL_SECONDS = 0.2


def fit(job: TrainJob, *, on_epoch: Callable[[dict[str, Any]], None]) -> None:
    """Train until all epochs are done and the results are in `job.results`.

    `on_epoch` is called with each epoch's figures as they come. Raises TrainingError with the first worker's own error.
    The trainer runs in a second thread, so that Ctrl-C reaches this one at once instead of Ray's handler, and so that
    the seconds in which Ray Train takes its workers down are not waited for: the session ends them all.
    """
    failed: list[BaseException] = []
    thread = threading.Thread(target=_run, args=(job, failed), name="ray-train", daemon=True)
    thread.start()
    shown = 0
    while thread.is_alive() and not job.results.is_dir():
        thread.join(POLL_SECONDS)
        shown = _show(job.progress, shown, on_epoch)
    _show(job.progress, shown, on_epoch)
    if job.results.is_dir():
        return
    raise _readable(failed[0]) if failed else TrainingError(f"training ended without results in {job.results}")


class _Trainer(DataParallelTrainer):  # type: ignore[misc]  # ray carries no types
    """Without Ray's dataset manager, because the feed is ours, and, embedded, without what outlives a driver.

    Each of them is an actor that has nothing to do here and costs two seconds of a core while the workers start.
    """

    def _create_default_callbacks(self) -> list[Any]:
        idle = (DatasetsCallback,) if is_remote() else (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, idle)]


def _run(job: TrainJob, failed: list[BaseException]) -> None:
    trainer = _Trainer(
        train_on_worker,
        train_loop_config={"job": job.model_dump_json()},
        backend_config=TensorflowBackendConfig(),
        scaling_config=ScalingConfig(num_workers=job.train.num_workers),
        # A name of its own in this folder: fitting a finished name again would silently give its old result.
        run_config=RunConfig(name="ray", storage_path=str(job.folder), failure_config=FailureConfig(max_failures=0)),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
        failed.append(error)


def _show(progress: Path, shown: int, on_epoch: Callable[[dict[str, Any]], None]) -> int:
    """Report the lines of the progress file from `shown` on; a line still being written waits for the next look."""
    if not progress.exists():
        return shown
    lines = progress.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    for line in whole[shown:]:
        on_epoch(json.loads(line))
    return len(whole)


def _readable(error: BaseException) -> BaseException:
    """The error of the first worker that failed for a reason of its own, where a person can mend it."""
    causes = getattr(error, "worker_failures", {}) if isinstance(error, TrainingFailedError) else {}
    for rank, cause in sorted(causes.items()):
        own = getattr(cause, "cause", None) or cause
        if isinstance(own, TrainingError):
            return TrainingError(f"worker {rank}: {own}")
    return error
