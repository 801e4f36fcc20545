"""Why a group of workers ended, and whether Ray Train may start the next one by itself."""

from pathlib import Path

from ray.train import FailureConfig

from headrace.pipelines.compatibility.ray_train_internals import (
    ControllerError,
    DefaultFailurePolicy,
    FailureDecision,
    PreemptionError,
    TrainingFailedError,
    WorkerGroupError,
)
from headrace.pipelines.host.host_problems import host_problem, is_out_of_memory
from headrace.pipelines.ray_train.progress_files import add_event, write_here
from headrace.pipelines.ray_train.training_events import LostEvent
from headrace.pipelines.ray_train.training_job import OUT_OF_MEMORY, Failure, Job


class Failures(DefaultFailurePolicy):  # type: ignore[misc]  # ray carries no types
    """Ray Train's own policy, except for what is not to be charged to `max_failures`: `fit` starts those groups.

    It runs in the controller, on the node of the training's driver, and reports there why a group was lost.
    """

    def __init__(self, failure_config: FailureConfig, *, job: Job) -> None:
        super().__init__(failure_config)
        self._job, self._kills = job, out_of_memory_kills()

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Decide whether Ray starts another group."""
        if isinstance(training_failed_error, ControllerError):  # such as no room for a group yet
            return super().make_decision(training_failed_error)
        if isinstance(training_failed_error, PreemptionError):
            if not self._job.preempted.exists():
                write_here(self._job.preempted, "at the last checkpoint: the deadline of their node was too near")
            return FailureDecision.RAISE
        if self._job.failure.exists():  # a worker's own
            return FailureDecision.RAISE
        if reason := self._out_of_memory(training_failed_error):
            failure = Failure(rank=-1, kind=OUT_OF_MEMORY, message=reason)
            write_here(self._job.failure, failure.model_dump_json(indent=2) + "\n")
            return FailureDecision.RAISE
        add_event(self._job, LostEvent(reason=" ".join(str(training_failed_error).split())[:300]))
        return super().make_decision(training_failed_error)

    def _out_of_memory(self, error: TrainingFailedError) -> str | None:
        """Why a worker had no memory, by what it raised or Ray says of it, or by what the kernel has counted here."""
        workers = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
        for one in workers:
            if is_out_of_memory(one):
                return host_problem(one)
        before, self._kills = self._kills, out_of_memory_kills()
        if self._kills <= before:
            return None
        return f"out of memory: the kernel killed {self._kills - before} of the machine's processes for it"


def out_of_memory_kills() -> int:
    """Count the processes that the kernel has killed for memory: of this control group, else of the machine.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.events; /proc/vmstat of Linux 4.13 and later.
    """
    for file in (*_control_group_events(), Path("/proc/vmstat")):
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _control_group_events() -> list[Path]:
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    own = [line.removeprefix("0::/") for line in groups if line.startswith("0::/")]
    return [Path("/sys/fs/cgroup", name, "memory.events") for name in own]
