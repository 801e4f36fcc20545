"""Mistakes fail without a retry; a fault that may pass is retried, later and later."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError, LimitError, ParamsError, ServiceError, TrainingError

DVC_LINE = "ERROR: failed to reproduce 'train@digits': failed to run: headrace train digits, exited with {}"


@pytest.fixture(autouse=True, scope="module")
def retry_policy():
    """Not imported above: Airflow makes its home when it is imported, which conftest.py has moved by then."""
    from headrace.pipelines.airflow import retry_policy

    return retry_policy


@pytest.mark.parametrize(
    ("exit_code", "name"),
    [
        (2, "MISTAKE"),
        (3, "LIMIT"),  # `headrace monitor` found something
        (75, "SERVICE"),
        (1, "UNKNOWN"),  # a bug, with its traceback
        (-9, "LOST"),  # killed, as Python says it
        (137, "LOST"),  # killed, as a shell says it
        (None, "LOST"),  # the node that ran it is gone
        (255, "UNKNOWN"),  # DVC itself
    ],
)
def test_the_exit_code_gives_the_cause(retry_policy, exit_code, name):
    assert retry_policy.cause_of_exit(exit_code).name == name


@pytest.mark.parametrize(
    ("lines", "exit_code", "cause", "last_error"),
    [
        # the exit code in DVC's last line is the stage's, 255 is DVC's
        (["epoch 1/5", "error: the loss is nan", DVC_LINE.format(2)], 255, "MISTAKE", "the loss is nan"),
        (["error: MLflow is away", DVC_LINE.format(75)], 255, "SERVICE", "MLflow is away"),
        (["epoch 1/5", DVC_LINE.format(-9)], 255, "LOST", "epoch 1/5"),
        (["ERROR: failed to pull data from the cloud"], 255, "UNKNOWN", "ERROR: failed to pull data from the cloud"),
        # a Ray job
        (["Traceback (most recent call last):", "  File x", "ValueError: 1 < 2"], 1, "UNKNOWN", "ValueError: 1 < 2"),
        (["error: no column x", ""], 2, "MISTAKE", "no column x"),
        ([], None, "LOST", "no word, exit code None"),
    ],
)
def test_a_failed_stage_says_its_cause_and_its_own_last_error(retry_policy, lines, exit_code, cause, last_error):
    error = retry_policy.stage_failed("train@digits", output=lines, exit_code=exit_code)
    assert (error.cause.name, error.last_error) == (cause, last_error)
    assert str(error) == f"train@digits failed ({error.cause}): {last_error}"


def test_airflow_itself_does_not_try_a_mistake_again(retry_policy):
    from airflow.sdk.exceptions import AirflowFailException

    failed = {code: retry_policy.stage_failed("t", output=["x"], exit_code=code) for code in (2, 75)}
    assert isinstance(failed[2], AirflowFailException)
    assert not isinstance(failed[75], AirflowFailException)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (ParamsError("x"), "fail"),
        (DataError("x"), "fail"),
        (TrainingError("x"), "fail"),
        (LimitError("x"), "fail"),
        (ServiceError("x"), "retry"),
        (ConnectionRefusedError("x"), "retry"),
        (TimeoutError("x"), "retry"),
        (ValueError("x"), "default"),
        (FileNotFoundError("x"), "default"),
    ],
)
def test_the_policy_goes_by_the_exception_and_by_what_it_was_raised_from(retry_policy, error, action):
    outer = RuntimeError("could not submit")
    outer.__cause__ = error
    for exception in (error, outer):
        decision = retry_policy.RetryByCause().evaluate(exception, 1, 3)
        assert decision.action.value == action
        assert bool(decision.reason) is (action != "default")


@pytest.mark.parametrize(("exit_code", "action"), [(2, "fail"), (75, "retry"), (-9, "retry"), (1, "default")])
def test_the_policy_goes_by_the_cause_of_a_failed_stage(retry_policy, exit_code, action):
    error = retry_policy.stage_failed("t", output=["x"], exit_code=exit_code)
    assert retry_policy.RetryByCause().evaluate(error, 1, 3, {}).action.value == action


@settings(deadline=None)
@given(try_number=st.integers(1, 2000))
def test_waits_double_within_bounds_and_are_not_all_the_same(try_number):
    from headrace.pipelines.airflow.retry_policy import RetryByCause

    policy = RetryByCause(first_seconds=10, longest_seconds=300)
    waits = [policy.evaluate(ServiceError("x"), try_number, 9).retry_delay.total_seconds() for _ in range(3)]
    full = min(10 * 2 ** min(try_number - 1, 9), 300)
    assert all(full / 2 <= wait <= full for wait in waits)
    assert len(set(waits)) > 1


def test_dvc_says_the_stages_exit_code_in_its_last_line(retry_policy, tmp_path):
    dvc = Path(sys.executable).with_name("dvc")
    (tmp_path / "dvc.yaml").write_text("stages:\n  a:\n    cmd: 'echo error: away; exit 75'\n")
    subprocess.run([dvc, "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    ended = subprocess.run(
        [dvc, "repro", "a"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    error = retry_policy.stage_failed("a", output=ended.stdout.splitlines(), exit_code=ended.returncode)
    assert (error.cause.name, error.last_error) == ("SERVICE", "away")
