"""DAG runs on the stack: to a champion, side by side, and through whatever dies while a job trains."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]

EPOCHS = 24
SEEDS = itertools.count(int(time.time()))  # each training is another one, also on a stack that has seen many


def long_training() -> dict[str, int]:
    """Parameters of a training of half a minute or more, so that much can happen meanwhile."""
    return {"train.epochs": EPOCHS, "train.global_batch_size": 8, "train.seed": next(SEEDS)}


@pytest.fixture
def under_way(stack):
    """A DAG run whose job has trained two epochs."""
    run = stack.trigger(long_training())
    run.wait_for_epoch(2)
    return run


def assert_one_training(stack, run, *, job_statuses: list[str] | None = None) -> None:
    """One training's worth of epochs in one MLflow run, which says how it ended; no job continues; all is in S3."""
    owner = f"{run.dag}/{run.name}"
    [found] = [one for one in stack.mlflow_runs() if one.data.tags.get("headrace.owner") == owner]
    assert found.info.status == "FINISHED"
    assert stack.epochs(found.info.run_id) == list(range(1, EPOCHS + 1))
    jobs = [job for job in stack.jobs() if job["metadata"].get("headrace.owner") == owner]
    assert all(job["status"] in ("SUCCEEDED", "FAILED", "STOPPED") for job in jobs), jobs
    statuses = [job["status"] for job in sorted(jobs, key=lambda job: job["start_time"])]
    assert job_statuses is None or statuses == job_statuses
    assert run.not_in_s3() == []


def test_a_run_goes_to_a_champion_with_every_artifact_in_s3(stack):
    run = stack.trigger({"train.seed": next(SEEDS)})
    assert run.wait_for_end() == "success"
    log = run.log("train")
    assert [log.count(f"epoch {epoch}/12 ") for epoch in range(1, 13)] == [1] * 12
    links = stack.airflow("GET", f"{run.path}/taskInstances/train/links")["extra_links"]
    assert links["Ray dashboard"].startswith(stack.environment["RAY_ADDRESS"])
    assert links["MLflow run"].startswith(stack.environment["MLFLOW_TRACKING_URI"])
    assert run.name in stack.call("dvc", "exp", "list", "--all-commits")
    assert run.not_in_s3() == []
    assert not [path for path in stack.root.glob("models/*") if path.is_dir()]  # nobody's working tree is touched


def test_two_runs_go_on_side_by_side(stack, record_property):
    started_seconds = time.monotonic()
    runs = [stack.trigger(long_training()) for _ in range(2)]
    assert [run.wait_for_end() for run in runs] == ["success", "success"]
    record_property("seconds", round(time.monotonic() - started_seconds))
    for run in runs:
        assert_one_training(stack, run, job_statuses=["SUCCEEDED"])


def test_a_parameter_that_is_not_there_is_refused_before_any_work(stack, record_property):
    started_seconds = time.monotonic()
    run = stack.trigger({"train.epoch": 3})
    assert run.wait_for_end() == "failed"
    record_property("seconds", round(time.monotonic() - started_seconds))
    assert run.tasks()["ingest"] == ("failed", 1)
    assert "unknown key 'train.epoch'; did you mean 'train.epochs'?" in run.log("ingest")


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_a_user_ends_stops_its_job(stack, under_way, state, record_property):
    started_seconds = time.monotonic()
    stack.airflow("PATCH", f"{under_way.path}/taskInstances/train", {"new_state": state})
    owner = f"{under_way.dag}/{under_way.name}"

    def is_stopped(_run) -> bool:
        return [job["status"] for job in stack.jobs() if job["metadata"].get("headrace.owner") == owner] == ["STOPPED"]

    under_way.wait(is_stopped)
    record_property("seconds", round(time.monotonic() - started_seconds))
    [found] = [one for one in stack.mlflow_runs() if one.data.tags.get("headrace.owner") == owner]
    assert found.info.status == "KILLED"


def test_a_task_that_is_cleared_goes_on_from_the_checkpoint(stack, under_way, record_property):
    started_seconds = time.monotonic()
    cleared = {"dry_run": False, "dag_run_id": under_way.name, "task_ids": ["train"], "only_failed": False}
    stack.airflow("POST", f"/dags/{under_way.dag}/clearTaskInstances", {**cleared, "reset_dag_runs": True})
    assert under_way.wait_for_end() == "success"
    record_property("seconds", round(time.monotonic() - started_seconds))
    assert_one_training(stack, under_way)


@contextmanager
def stopped(process: psutil.Process, seconds: float) -> Iterator[None]:
    family = [process, *process.children(recursive=True)]
    for one in family:
        one.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    for one in family:
        one.send_signal(signal.SIGCONT)
    yield


def kill_service(service: str) -> Callable[[object], None]:
    return lambda stack: stack.kill(service)


def stop_service(service: str, seconds: float) -> Callable[[object], None]:
    def stop(stack) -> None:
        with stopped(stack.process(service), seconds):
            pass

    return stop


def kill_ray_worker(stack) -> None:
    """One of the processes that train."""
    nodes = [stack.process(f"ray-worker-{number}") for number in (1, 2)]
    found = [
        one for node in nodes for one in node.children(recursive=True) if "RayTrainWorker" in " ".join(one.cmdline())
    ]
    found[0].kill()


FAULTS = {
    "nothing": lambda _stack: None,
    "SIGKILL of the triggerer": kill_service("airflow-triggerer"),
    "SIGKILL of the scheduler": kill_service("airflow-scheduler"),
    "API server away for 60 s": stop_service("airflow-api-server", 60),
    "SIGKILL of a training process": kill_ray_worker,
    "SIGKILL of a Ray node": kill_service("ray-worker-1"),
    "SIGKILL of the Ray head": kill_service("ray-head"),
    "SIGKILL of MLflow's server": kill_service("mlflow"),
    "S3 stopped for 20 s": stop_service("s3", 20),
    "PostgreSQL restarted": kill_service("postgres"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_training_survives(stack, under_way, fault, record_property):
    started_seconds = time.monotonic()
    FAULTS[fault](stack)
    assert under_way.wait_for_end() == "success"
    record_property("seconds", round(time.monotonic() - started_seconds))
    record_property("tries", under_way.tasks()["train"][1])
    assert_one_training(stack, under_way)


@pytest.mark.parametrize("level", ["the task process", "its supervisor in the Airflow worker"])
def test_a_task_that_is_killed_while_it_submits_its_job_is_retried(stack, level, record_property):
    run = stack.trigger(long_training())
    run.wait(lambda one: bool(submitting(one)))
    started_seconds = time.monotonic()
    [dvc] = submitting(run)
    task = dvc.parent()  # a fork of its supervisor
    (task if level == "the task process" else task.parent()).kill()
    assert run.wait_for_end() == "success"
    record_property("seconds", round(time.monotonic() - started_seconds))
    assert run.tasks()["train"][1] > 1
    assert_one_training(stack, run, job_statuses=["SUCCEEDED"])


def submitting(run) -> list[psutil.Process]:
    """The `dvc repro` of the run's training, while its task runs it."""
    found = []
    for one in run.stack.process("airflow-scheduler").children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "train@digits" in one.cmdline() and run.name in one.cwd():
                found.append(one)
    return found
