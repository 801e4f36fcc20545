"""What becomes of a group of workers that ended, by Ray Train's own errors."""

import json

import pytest
import ray
from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from headrace.components.errors import ServiceError, TrainingError
from headrace.pipelines.params import Train
from headrace.pipelines.ray_train import failures
from headrace.pipelines.ray_train.failures import Failures, out_of_memory_kills
from headrace.pipelines.ray_train.ray_trainer import WorkerError, _error
from headrace.pipelines.ray_train.training_job import OUT_OF_MEMORY, Failure, TrainJob

TRAIN = Train.model_validate(
    {
        "model": {"layers": []},
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "global_batch_size": 8,
        "epochs": 1,
    }
)


@pytest.fixture
def job(tmp_path) -> TrainJob:
    (tmp_path / "statistics.json").touch()
    return TrainJob(
        run_name="digits-0", folder=tmp_path, splits=tmp_path, statistics=tmp_path / "statistics.json", train=TRAIN
    )


def decide(job: TrainJob, *errors: Exception, max_failures: int = 1) -> list[FailureDecision]:
    policy = Failures(FailureConfig(max_failures=max_failures), job=job)
    return [policy.make_decision(error) for error in errors]


def lost(error: Exception) -> WorkerGroupError:
    """A worker that ended so, and another that misses it."""
    return WorkerGroupError(str(error), {0: ConnectionError("lost worker 1"), 1: error})


def test_a_lost_worker_is_charged_and_reported(job):
    error = lost(RuntimeError("The process is killed by SIGKILL by OOM killer due to high memory usage."))
    assert decide(job, error, error) == [FailureDecision.RETRY, FailureDecision.RAISE]
    events = [json.loads(line) for line in job.progress.read_text().splitlines() if line]
    assert [event["kind"] for event in events] == ["lost", "lost"]
    assert "SIGKILL" in events[0]["reason"]
    assert not job.failure.exists()  # Ray says this of every kill


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("OOM when allocating tensor with shape[64,800000] and type float on CPU"),
        ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory."),
    ],
)
def test_a_worker_without_memory_is_not_charged(job, error):
    assert decide(job, lost(error), max_failures=0) == [FailureDecision.RAISE]
    failure = Failure.model_validate_json(job.failure.read_text())
    assert failure.kind == OUT_OF_MEMORY
    assert failure.message.startswith("out of memory")


def test_a_kill_by_the_kernel_is_found_by_its_count(job, monkeypatch):
    counts = iter([3, 4, 4])
    monkeypatch.setattr(failures, "out_of_memory_kills", lambda: next(counts))
    died, policy = lost(RuntimeError("died")), Failures(FailureConfig(max_failures=1), job=job)
    assert policy.make_decision(died) is FailureDecision.RAISE
    failure = Failure.model_validate_json(job.failure.read_text())
    assert "the kernel killed 1 of the machine's processes" in failure.message
    job.failure.unlink()
    assert policy.make_decision(died) is FailureDecision.RETRY


def test_the_kernel_counts_its_kills_here():
    assert out_of_memory_kills() >= 0


def test_a_drain_is_not_charged_and_no_room_yet_is_waited_for(job):
    drained = PreemptionError(PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [0]}))
    waiting = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert decide(job, drained, waiting, max_failures=0) == [FailureDecision.RAISE, FailureDecision.RETRY]
    assert "the deadline of their node was too near" in job.preempted.read_text()
    assert not job.progress.exists()


@pytest.mark.parametrize(
    ("kind", "error"),
    [("mistake", TrainingError), ("out_of_memory", TrainingError), ("host", ServiceError), ("bug", WorkerError)],
)
def test_an_end_is_an_error_of_its_kind(kind, error):
    found = _error(Failure(rank=1, kind=kind, message="it says why", traceback="it says why"))
    assert type(found) is error
    assert "it says why" in str(found)
