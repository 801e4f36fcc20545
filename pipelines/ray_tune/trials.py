"""Trainings of a search, side by side on Ray Tune, which stops the poor ones early."""

import logging
import os
import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from headrace.components.errors import TrainingError, UserError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.settings import Settings
from headrace.components.tasks.metric_names import lower_is_better
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.code_digests import own_code
from headrace.pipelines.ray_cluster.connect import is_remote
from headrace.pipelines.ray_train.pipeline_worker import in_label_unit, named_inputs
from headrace.pipelines.ray_train.resources import worker_resources
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker import prepare_devices
from headrace.pipelines.ray_train.worker_data import remove_columns, split_columns, validation_columns

if TYPE_CHECKING:
    from headrace.components.training.observer import Figures

# Read by Ray Tune; what it writes for itself is never read, and Ctrl-C is to be an ordinary KeyboardInterrupt.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output can be silenced
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the last report of a trial says only how it ended
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}
ONE_PROCESS = {"num_workers": 1, "reproducible": "to_rounding"}
HALVED_AFTER = 4  # the worse half is stopped after this part of the epochs, and again after twice as many


class Trial(Settings):
    """One training of a search, with a folder of its own. Paths must mean the same on every node.

    It trains on the splits in `project`; where it `makes_data`, on its own ones in `folder`.
    """

    number: int
    name: str
    folder: Path
    project: Path
    makes_data: bool
    pipeline: Pipeline
    start_weights: Path | None = None
    pretrained: Path | None = None
    trials_on_node: int = 1

    @property
    def description(self) -> Path:
        """The trial, as its worker reads it."""
        return self.folder / "trial.json"

    def as_training(self) -> TrainJob:
        """The trial as a training of one process; step by step it equals any other number of workers up to rounding."""
        paths = PipelinePaths(self.folder if self.makes_data else self.project, self.pipeline.name)
        return TrainJob(
            run_name=self.name,
            folder=self.folder,
            splits=paths.splits,
            statistics=paths.statistics,
            train=self.pipeline.train.model_copy(update=ONE_PROCESS),
            start_weights=self.start_weights,
            pretrained=self.pretrained,
            sources=own_code(self.project, self.pipeline).sources,
        )


class Outcome(Settings):
    """How a trial ended, with the metrics of each epoch until then; `traceback` is that of a bug."""

    status: Literal["finished", "stopped early", "failed"]
    history: tuple[dict[str, float], ...] = ()
    reason: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Watcher:
    """Receives the events of trials, by their numbers: the start, the metrics of an epoch, and the end."""

    on_start: Callable[[int], None]
    on_epoch: Callable[[int, dict[str, float]], None]
    on_end: Callable[[int, Outcome], None]


def run_trials(
    trials: Sequence[Trial],
    *,
    metric: str,
    at_once: int,
    early_stop: bool,
    make_data: Callable[[Trial], None],
    watcher: Watcher,
) -> None:
    """Train each trial, `at_once` of them side by side, within a Ray session.

    With `early_stop`, a trial whose `metric` is in the worse half is stopped. `make_data` runs on the worker of a trial
    that makes its own data. Raises TrainingError where `train.use_gpu` requires a GPU that this machine has not.
    """
    train, ray_folder = trials[0].pipeline.train, trials[0].folder.with_name("ray")
    _require_gpu(train.use_gpu)
    os.environ.update(_ENVIRONMENT)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # `on_end` reports trials that fail
    for trial in trials:
        _describe(trial)
    epochs = {trial.number: trial.pipeline.train.epochs for trial in trials}
    try:
        tune.Tuner(
            tune.with_resources(partial(_run, make_data=make_data), _resources(train)),
            param_space={"description": tune.grid_search([str(trial.description) for trial in trials])},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=at_once,
                scheduler=_scheduler(trials, metric) if early_stop else FIFOScheduler(),
                reuse_actors=False,  # TensorFlow's collectives refuse a second training in one process
            ),
            run_config=tune.RunConfig(
                name=ray_folder.name,
                storage_path=str(ray_folder.parent),
                callbacks=[_Follower(epochs, watcher)],
                failure_config=tune.FailureConfig(max_failures=train.max_failures),
                verbose=0,
            ),
        ).fit()
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def _describe(trial: Trial) -> None:
    """Write the trial to its folder, which is emptied first, for its worker."""
    shutil.rmtree(trial.folder, ignore_errors=True)
    trial.folder.mkdir(parents=True)
    trial.description.write_text(trial.model_dump_json(by_alias=True), encoding="utf-8")


def _scheduler(trials: Sequence[Trial], metric: str) -> TrialScheduler:
    """Asynchronous successive halving (Li et al., 2020)."""
    epochs = max(trial.pipeline.train.epochs for trial in trials)
    mode = "min" if lower_is_better(metric) else "max"
    first = max(1, epochs // HALVED_AFTER)
    return ASHAScheduler("epoch", metric, mode, max_t=epochs, grace_period=first, reduction_factor=2)


def _resources(train: DistributedPlan) -> dict[str, float]:
    """What Ray reserves for a trial, which is one process: what it would for a worker."""
    return {name if name == "memory" else name.lower(): value for name, value in worker_resources(train).items()}


def _require_gpu(use_gpu: bool) -> None:
    if use_gpu and not is_remote() and not ray.cluster_resources().get("GPU"):
        raise TrainingError("train.use_gpu is true, and Ray finds no GPU here; set train.use_gpu: false")


class _Follower(tune.Callback):  # type: ignore[misc]  # ray carries no types
    """Passes on what Ray Tune receives, and finds out how each trial ended."""

    def __init__(self, epochs: dict[int, int], watcher: Watcher) -> None:
        self._epochs, self._watcher = epochs, watcher
        self._history: dict[int, list[dict[str, float]]] = {number: [] for number in epochs}
        self._ends: dict[int, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes its callbacks into a file, and nobody reads that."""
        return {}

    def on_trial_start(self, iteration: int, trials: Any, trial: TuneTrial, **_: Any) -> None:  # noqa: ARG002
        self._watcher.on_start(_number(trial))

    def on_trial_result(self, iteration: int, trials: Any, trial: TuneTrial, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        number = _number(trial)
        if "end" in result:
            self._ends[number] = result["end"]
        elif len(self._history[number]) < result["epoch"]:  # a worker that was lost started again
            self._history[number].append(result["metrics"])
            self._watcher.on_epoch(number, result["metrics"])

    def on_trial_complete(self, iteration: int, trials: Any, trial: TuneTrial, **_: Any) -> None:  # noqa: ARG002
        number = _number(trial)
        history = tuple(self._history[number])
        # Ray Tune stops a trial after its last epoch, before that can say that it is finished.
        early = {"status": "finished" if len(history) >= self._epochs[number] else "stopped early"}
        self._watcher.on_end(number, Outcome(**self._ends.get(number, early), history=history))

    def on_trial_error(self, iteration: int, trials: Any, trial: TuneTrial, **_: Any) -> None:  # noqa: ARG002
        reason = f"its worker was lost more than {trial.max_failures} times (train.max_failures)"
        number = _number(trial)
        self._watcher.on_end(number, Outcome(status="failed", history=tuple(self._history[number]), reason=reason))


def _number(trial: TuneTrial) -> int:
    return int(Path(trial.config["description"]).parent.name.rpartition("-")[2])


def clear(trial: Trial) -> None:
    """Remove what a trial needed while it ran: its outcome is reported, and its model is not wanted."""
    remove_columns(trial.as_training())
    shutil.rmtree(trial.as_training().checkpoints, ignore_errors=True)
    shutil.rmtree(trial.folder / "data", ignore_errors=True)


def _run(config: dict[str, str], *, make_data: Callable[[Trial], None]) -> None:
    """Train one trial in a worker's process and report each epoch, and how it ended, to Ray Tune."""
    trial = Trial.model_validate_json(Path(config["description"]).read_text(encoding="utf-8"))
    try:
        _train(trial, make_data)
    except UserError as error:
        tune.report({"end": {"status": "failed", "reason": str(error)}})
    except Exception as error:  # noqa: BLE001 - reported with its traceback, and the other trials continue
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        described = "".join(traceback.format_exception(error))
        tune.report({"end": {"status": "failed", "reason": reason, "traceback": described}})
    else:
        tune.report({"end": {"status": "finished"}})
    finally:  # also where Ray Tune stops the trial, by a SystemExit from `tune.report`
        clear(trial)


def _train(trial: Trial, make_data: Callable[[Trial], None]) -> None:
    if trial.makes_data:
        make_data(trial)
    job = trial.as_training()
    prepare_devices(job.train, workers_on_node=trial.trials_on_node)

    from headrace.components.training.initial_weights import read_start_weights
    from headrace.components.training.loop import Worker
    from headrace.components.training.observer import Observer
    from headrace.components.training.pipeline_trainee import train_pipeline
    from headrace.components.transforms.fitted_table import FittedTable

    fitted = FittedTable.model_validate_json(job.statistics.read_text(encoding="utf-8"))

    def on_epoch(epoch: int, metrics: "Figures", system: "Figures") -> None:
        shown = {"epoch": epoch, **in_label_unit(metrics, fitted, loss=job.train.loss), **system}
        tune.report({**shown, "metrics": shown})

    inputs, code = named_inputs(job, fitted), OwnCode(job.sources)
    with code.importable():
        train_pipeline(
            split_columns(job, "train", fitted=fitted, inputs=inputs),
            validation_columns(job, fitted=fitted, inputs=inputs),
            label=fitted.label,
            training=job.train,
            inputs=inputs,
            code=code,
            pretrained=job.pretrained,
            worker=Worker(0, 1),
            folder=job.checkpoints,
            observer=Observer(on_epoch),
            start_weights=lambda: read_start_weights(job.start_weights, code) if job.start_weights else None,
        )
