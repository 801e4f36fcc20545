"""Run one training on Ray Train and follow it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, Result, RunConfig

from headrace.components.errors import ServiceError, TrainingError
from headrace.pipelines.compatibility.ray_internals import on_this_node
from headrace.pipelines.compatibility.ray_train_internals import (
    DataParallelTrainer,
    DatasetsCallback,
    FixedOnOneMachine,
    PlacementGroupCleanerCallback,
    TrainController,
    TrainingFailedError,
    get_env_vars_to_propagate,
)
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.host.logs import log_context
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import fetch
from headrace.pipelines.ray_cluster.connect import is_remote
from headrace.pipelines.ray_cluster.ports import port_range
from headrace.pipelines.ray_train.backend import TensorflowBackendConfig
from headrace.pipelines.ray_train.failures import Failures
from headrace.pipelines.ray_train.progress_files import Samples, follow, mailbox
from headrace.pipelines.ray_train.resources import requested, require_resources, scaling
from headrace.pipelines.ray_train.training_events import (
    Event,
    LostEvent,
    NoteEvent,
    PlacedEvent,
    RetryEvent,
    SamplesEvent,
)
from headrace.pipelines.ray_train.training_job import OUT_OF_MEMORY, Failure, Job
from headrace.pipelines.ray_train.worker import logging_as

POLL_SECONDS = 0.2
LAST_CHECKPOINT_SECONDS = 20.0  # for a step and its checkpoint
WAITING_SECONDS = 60.0
SAMPLES_SECONDS = 2.0  # between looks at the workers' figures

OnWorker = Callable[[dict[str, str]], None]


class WorkerError(Exception):
    """A bug in what a worker ran; the message is the worker's own traceback."""


def fit(job: Job, *, on_worker: OnWorker, on_event: Callable[[Event], None]) -> None:
    """Train until all epochs are done and the results are in `job.results`.

    `on_worker` runs on each worker, with the job as JSON under "job". `on_event` is called with each event as it comes.
    A lost worker or node is replaced, `train.max_failures` times. Workers that are preempted, by SIGTERM or a drain,
    are replaced however often. Where memory ran out there is one more attempt. Raises TrainingError for what a user can
    fix, and WorkerError with a worker's traceback for a bug. Raises ServiceError where a cluster has no room for the
    workers or was lost.
    """
    require_resources(job.train)
    with mailbox(job):
        _fit(job, on_worker, on_event)
    if job.published.exists():
        fetch(job.key("results"), job.results, storage=open_storage(str(job.storage)))


def _fit(job: Job, on_worker: OnWorker, on_event: Callable[[Event], None]) -> None:
    offset_bytes = follow(job.progress, 0, on_event)  # of an earlier attempt
    waiting, was_out_of_memory = _Waiting(job.train, on_event), False
    samples, next_samples_seconds = Samples(job.folder), 0.0

    def report_samples() -> None:
        if new := samples.new():
            on_event(SamplesEvent(samples=tuple(new)))

    def poll() -> bool:
        nonlocal offset_bytes, next_samples_seconds
        offset_bytes = follow(job.progress, offset_bytes, waiting.pass_on)
        waiting.poll()
        if time.monotonic() >= next_samples_seconds:
            next_samples_seconds = time.monotonic() + SAMPLES_SECONDS
            report_samples()
        # Not where another group follows: Ray takes its time to stop this one, and then gives its resources back.
        return has_results(job) or (job.failure.is_file() and _read_failure(job).kind != OUT_OF_MEMORY)

    while True:
        job.preempted.unlink(missing_ok=True)
        _fit_one_group(job, on_worker, poll)
        report_samples()  # a short training ends before they are due
        waiting.begin()
        if job.failure.is_file():
            failure = _read_failure(job)
            if failure.kind != OUT_OF_MEMORY or was_out_of_memory:
                raise _error(failure)
            was_out_of_memory = True
            job.failure.unlink()
            on_event(RetryEvent(reason=f"{_worker(failure)} {failure.message}"))
            continue
        if has_results(job):
            return
        if not job.preempted.exists():
            raise TrainingError(f"training ended without results in {job.results}")
        on_event(NoteEvent(note=f"workers were preempted and stopped {_read(job.preempted)}; others continue"))


def has_results(job: Job) -> bool:
    """Whether the workers have written their results, here or in the storage."""
    return job.results.is_dir() or job.published.exists()


def _fit_one_group(job: Job, on_worker: OnWorker, poll: Callable[[], bool]) -> None:
    """Train until the group of workers has written results, a failure, or a note that it was preempted."""
    try:
        _Trainer(job, on_worker, poll).fit()
    except TrainingFailedError as error:
        if not (poll() or job.failure.exists() or job.preempted.exists()):
            lost = f"the group of workers was lost more than {job.train.max_failures} times (train.max_failures)"
            raise ServiceError(f"{lost}; the last reason: {' '.join(str(error).split())[:500]}") from error
    poll()


class _Waiting:
    """Reports, once a minute, that no workers start because the cluster has no room for them; gives up in the end."""

    def __init__(self, train: DistributedPlan, on_event: Callable[[Event], None]) -> None:
        self._train, self._on_event = train, on_event
        self.begin()

    def begin(self) -> None:
        """Wait for a group, from now on."""
        self._since_seconds: float | None = time.monotonic()
        self._next_seconds = time.monotonic() + WAITING_SECONDS

    def pass_on(self, event: Event) -> None:
        """Pass an event on; workers that are lost are waited for again."""
        if isinstance(event, LostEvent):
            self.begin()
        elif isinstance(event, PlacedEvent):
            self._since_seconds = None
        self._on_event(event)

    def poll(self) -> None:
        """Report what is waited for; raise ServiceError after `train.capacity_timeout_seconds`."""
        now_seconds = time.monotonic()
        if self._since_seconds is None:
            return
        waited_seconds, limit_seconds = now_seconds - self._since_seconds, self._train.capacity_timeout_seconds
        if waited_seconds > limit_seconds:
            raise ServiceError(
                f"no workers after {waited_seconds:.0f} s (train.capacity_timeout_seconds): {self._found()}; add nodes "
                "or lower train.num_workers, or give it as a range; the same command continues from the last checkpoint"
            )
        if now_seconds >= self._next_seconds:
            self._next_seconds = now_seconds + WAITING_SECONDS
            note = f"no workers yet: {self._found()}; waiting for at most {limit_seconds - waited_seconds:.0f} s more"
            self._on_event(NoteEvent(note=note))

    def _found(self) -> str:
        total, free = ray.cluster_resources(), ray.available_resources()
        has = ", ".join(f"{total.get(name, 0):g} {name}s ({free.get(name, 0):g} free)" for name in ("CPU", "GPU"))
        return f"{requested(self._train)}, Ray has {has}"


class _Trainer(DataParallelTrainer):  # type: ignore[misc]  # ray carries no types
    """Ray Train, followed from the main thread, so that a Ctrl-C is an ordinary KeyboardInterrupt.

    It leaves out Ray's dataset manager, because the feed is ours, and, embedded, what outlives a driver. Each is an
    actor that has nothing to do here, and slows the workers' start. And it does not wait until Ray has
    stopped workers that have done all their work, which takes seconds.
    """

    def __init__(self, job: Job, on_worker: OnWorker, is_done: Callable[[], bool]) -> None:
        super().__init__(
            logging_as(on_worker, log_context()),
            train_loop_config={"job": job.model_dump_json()},
            backend_config=TensorflowBackendConfig(port_range()),
            scaling_config=scaling(job.train),
            # A name of its own in this folder: fitting a finished name again would silently give its old result.
            run_config=RunConfig(
                name="ray",
                storage_path=str(job.folder),
                failure_config=FailureConfig(max_failures=job.train.max_failures),
            ),
        )
        self._job, self._is_done = job, is_done

    def _create_default_callbacks(self) -> list[Any]:
        idle = (DatasetsCallback,) if is_remote() else (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, idle)]

    def _initialize_and_run_controller(self, **settings: Any) -> Result:
        runtime_environment = {"env_vars": get_env_vars_to_propagate()}
        actor = ray.remote(num_cpus=0, label_selector=on_this_node(), runtime_env=runtime_environment)
        if not is_remote() and not self.scaling_config.elasticity_enabled:
            settings["scaling_policy"] = FixedOnOneMachine(self.scaling_config)
        settings["failure_policy"] = Failures(self.run_config.failure_config, job=self._job)
        controller = actor(TrainController).remote(**settings)
        running = controller.run.remote()
        try:
            while not ray.wait([running], timeout=POLL_SECONDS)[0]:
                if self._is_done():
                    return Result(metrics=None, checkpoint=None, error=None, path=self.run_config.storage_path)
            ray.get(running)
            return ray.get(controller.get_result.remote())
        except KeyboardInterrupt:
            _await_last_checkpoint(self._job)
            raise
        finally:
            ray.kill(controller)  # its workers and its placement group go with it


def _await_last_checkpoint(job: Job) -> None:
    """Wait until workers that read `job.stop` have written a checkpoint; others keep that of their last epoch."""
    if not job.mailbox:
        return
    job.stop.touch()
    deadline_seconds = time.monotonic() + LAST_CHECKPOINT_SECONDS
    while not (job.preempted.exists() or has_results(job)) and time.monotonic() < deadline_seconds:
        time.sleep(POLL_SECONDS)


def _read_failure(job: Job) -> Failure:
    return Failure.model_validate_json(_read(job.failure))


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _worker(failure: Failure) -> str:
    return "a worker:" if failure.rank < 0 else f"worker {failure.rank}:"


def _error(failure: Failure) -> Exception:
    match failure.kind:
        case "mistake":
            return TrainingError(f"{_worker(failure)} {failure.message}")
        case "out_of_memory":
            return TrainingError(
                f"{_worker(failure)} {failure.message.partition(';')[0]}, twice. Lower train.global_batch_size, train "
                "on more nodes (each holds its share of a batch), or on nodes with more memory"
            )
        case "host":
            return ServiceError(f"{_worker(failure)} {failure.message}")
    return WorkerError(f"worker {failure.rank} failed:\n{failure.traceback}")
