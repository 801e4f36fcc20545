"""Each task of a DAG run on a machine of its own: what a task finds is what git and DVC's remote have."""

import shutil
import time

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_each_task_rebuilds_its_workspace_from_git_and_the_remote(stack, record_property):
    started_seconds = time.monotonic()
    run = stack.trigger({"train.seed": int(started_seconds)})
    for stage in ("ingest", "normalize", "split"):
        leave_machine_after(run, stage)
    wait_for(run, "train", "deferred")
    leave_machine(run)
    for stage in ("train", "evaluate"):
        leave_machine_after(run, stage)
    assert run.wait_for_end() == "success"
    record_property("seconds", round(time.monotonic() - started_seconds))
    assert {number for _, number in run.tasks().values()} == {1}
    assert run.not_in_s3() == []


def leave_machine_after(run, stage: str) -> None:
    wait_for(run, stage, "running")
    run.stack.pause(run.dag, is_paused=True)  # the next task waits
    wait_for(run, stage, "success")
    leave_machine(run)
    run.stack.pause(run.dag, is_paused=False)


def leave_machine(run) -> None:
    shutil.rmtree(run.workspace)
    shutil.rmtree(run.stack.root / ".dvc" / "cache")


def wait_for(run, stage: str, state: str) -> None:
    run.wait(lambda run: run.tasks()[stage][0] == state)
