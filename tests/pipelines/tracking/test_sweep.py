"""No run stays RUNNING whose training is gone; none is closed whose training continues."""

import subprocess
import sys
import time

import psutil
import pytest

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.tracking.mlflow_runs import close_run, log_epoch, open_run
from headrace.pipelines.tracking.search_runs import PARENT_TAG
from headrace.pipelines.tracking.server import connect
from headrace.pipelines.tracking.sweep import JobState, find_runs, owner_tags, sweep

JOB = {"headrace.ray_submission_id": "digits-1-g1", "headrace.ray_address": "http://ann:secret@127.0.0.1:8265"}


def opened(root, tags, *, name="digits-1", pipeline="digits", params=None):
    return open_run(root, experiment=f"headrace/{pipeline}", run_name=name, tags=tags, params=params or {})


def mine():
    return {f"headrace.{name}": value for name, value in owner_tags().items()}


def status(root, run_id):
    return connect(root).get_run(run_id).info.status


def tags(root, run_id):
    return connect(root).get_run(run_id).data.tags


def never_asked(address, job):
    raise AssertionError(f"Ray was queried for {job}")


def swept(root, status_of=never_asked, **settings):
    return {verdict.run_id: verdict for verdict in sweep(root, status_of=status_of, **settings)}


@pytest.fixture
def root(project_root):
    return project_root


@pytest.fixture
def dead():
    """The tags of a process that was killed: those of a training after SIGKILL."""
    code = (
        "import time; from headrace.pipelines.tracking.sweep import owner_tags\n"
        "print(*owner_tags().values(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        host, process = child.stdout.readline().split()
        child.kill()
    return {"headrace.host": host, "headrace.process": process}


def test_a_run_whose_process_was_killed_is_closed_and_one_whose_process_lives_is_not(root, dead, until_answered):
    killed, lives = opened(root, dead), opened(root, mine())
    with until_answered():
        found = swept(root)
    assert status(root, killed) == "KILLED"
    assert found[killed].status == "KILLED"
    assert "ended without a word" in tags(root, killed)["headrace.reason"]
    assert status(root, lives) == "RUNNING"
    assert found[lives].status is None
    assert f"process {psutil.Process().pid} lives" in found[lives].reason
    assert list(swept(root)) == [lives]  # a second sweep has nothing left to do


def test_another_process_with_the_same_id_is_not_the_one_that_trained(root):
    pid, started = mine()["headrace.process"].split(":")
    run = opened(root, {**mine(), "headrace.process": f"{pid}:{int(started) - 3600}"})
    assert swept(root)[run].status == "KILLED"


def test_a_process_that_has_ended_and_was_not_waited_for_is_gone(root):
    child = subprocess.Popen(["true"])
    started = int(psutil.Process(child.pid).create_time())
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    run = opened(root, {**mine(), "headrace.process": f"{child.pid}:{started}"})
    assert swept(root)[run].status == "KILLED"
    child.wait()


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        (JobState("PENDING"), None, "is PENDING"),
        (JobState("RUNNING"), None, "is RUNNING"),
        (JobState("SUCCEEDED"), "FINISHED", "succeeded; 2 of at most 3 epochs"),
        (JobState("FAILED", "the loss is nan"), "FAILED", "failed: the loss is nan"),
        (JobState("FAILED"), "FAILED", "does not say why"),
        (JobState("FAILED", "x" * 9000), "FAILED", "xxx"),
        (JobState("STOPPED"), "KILLED", "was stopped"),
        (None, "FAILED", "vanished"),
    ],
)
def test_a_run_of_a_ray_job_becomes_what_ray_says(root, dead, state, expected, reason):
    run = opened(root, {**dead, **JOB}, params={"epochs": 3})
    for epoch in (1, 2):
        log_epoch(root, run, epoch=epoch, metrics={"loss": 1.0})
    queried = []

    def status_of(address, job):
        queried.append((address, job))
        return state

    verdict = swept(root, status_of)[run]
    assert queried == [("http://***@127.0.0.1:8265", JOB["headrace.ray_submission_id"])]
    assert "secret" not in str(connect(root).get_run(run).data.tags)
    assert verdict.status == expected
    assert status(root, run) == (expected or "RUNNING")
    assert reason in verdict.reason
    assert "secret" not in verdict.reason
    assert len(verdict.reason) <= 500


def test_a_run_that_goes_on_outside_of_ray_is_not_judged_by_its_first_job(root, dead):
    run = opened(root, {**dead, **JOB})
    for name, value in mine().items():
        connect(root).set_tag(run, name, value)
    assert swept(root)[run].status is None


def test_a_job_that_its_living_process_has_not_submitted_yet_has_not_vanished(root):
    run = opened(root, {**mine(), **JOB})
    assert swept(root, lambda address, job: None)[run].status is None


def test_a_cluster_that_is_away_is_queried_once_and_its_runs_are_left_for_a_while(root, dead):
    runs = [opened(root, {**dead, **JOB}) for _ in range(3)]
    queried = []

    def away(address, job):
        queried.append(job)
        raise ServiceError("no answer from the cluster")

    assert {verdict.reason for verdict in swept(root, away).values()} == {
        "its cluster does not answer: no answer from the cluster"
    }
    assert len(queried) == 1
    found = swept(root, away, unreachable_after_hours=0.0)
    assert {status(root, run) for run in runs} == {"FAILED"}
    assert "no sign of life for 0 hours" in found[runs[0]].reason


@pytest.mark.parametrize("owner", [{}, {"headrace.host": "elsewhere", "headrace.process": "1:1"}])
def test_a_run_that_nobody_here_knows_is_left_until_it_was_silent_for_long(root, owner, monkeypatch):
    run = opened(root, owner)
    now, hour = time.time(), 3600
    connect(root).log_metric(run, "loss", 1.0, timestamp=int((now + 20 * hour) * 1000), step=1)
    monkeypatch.setattr(time, "time", lambda: now + 40 * hour)
    assert swept(root)[run].status is None
    monkeypatch.setattr(time, "time", lambda: now + 50 * hour)
    assert "no sign of life for 30 hours" in swept(root)[run].reason
    assert status(root, run) == "FAILED"


def test_the_sign_of_life_of_a_search_is_that_of_its_trials(root, monkeypatch):
    elsewhere = {"headrace.host": "elsewhere", "headrace.process": "1:1"}
    search = opened(root, elsewhere, name="search")
    trial = opened(root, {PARENT_TAG: search}, name="trial")  # says nothing of its own
    in_two_days = time.time() + 48 * 3600
    connect(root).log_metric(trial, "loss", 1.0, timestamp=int(in_two_days * 1000), step=1)
    monkeypatch.setattr(time, "time", lambda: in_two_days)
    found = swept(root)
    assert found[search].status is None
    assert "another machine, elsewhere" in found[trial].reason


def test_trials_end_with_their_search(root, dead):
    search = opened(root, mine(), name="search")
    trials = [opened(root, {**owner, PARENT_TAG: search}) for owner in (mine(), {}, dead)]
    swept(root)
    assert [status(root, trial) for trial in trials] == ["RUNNING", "RUNNING", "KILLED"]
    close_run(root, search, status="FAILED")
    swept(root)
    assert [status(root, trial) for trial in trials] == ["KILLED"] * 3
    assert tags(root, trials[0])["headrace.reason"] == "its search has ended as FAILED"


def test_a_dry_run_changes_nothing(root, dead):
    run = opened(root, dead)
    assert swept(root, dry_run=True)[run].status == "KILLED"
    assert status(root, run) == "RUNNING"


def test_a_run_that_ends_or_goes_on_while_ray_is_queried_is_not_touched(root, dead):
    ends, goes_on = (opened(root, {**dead, **JOB, "headrace.ray_submission_id": name}) for name in ("a", "b"))

    def status_of(address, job):
        if job == "a":
            close_run(root, ends, status="FINISHED")
        else:
            connect(root).set_tag(goes_on, "headrace.ray_submission_id", "b-g2")
        return JobState("FAILED", "because")

    found = swept(root, status_of)
    assert (found[ends].status, status(root, ends)) == (None, "FINISHED")
    assert (found[goes_on].status, status(root, goes_on)) == (None, "RUNNING")


def test_no_more_runs_than_wanted_are_asked_for_and_they_are_the_newest(root, dead, monkeypatch):
    runs = [opened(root, dead) for _ in range(4)]
    monkeypatch.setattr("headrace.pipelines.tracking.sweep._PAGE", 2)
    assert [run.info.run_id for run in find_runs(root, limit=3)] == runs[:0:-1]


def test_only_the_named_pipelines_runs_are_looked_at_and_none_of_others_experiments(root, dead):
    digits, wine = opened(root, dead), opened(root, dead, pipeline="wine")
    other = open_run(root, experiment="somebody's", run_name="x", tags=dead, params={})
    assert list(swept(root, pipeline="wine")) == [wine]
    assert {run.info.run_id for run in find_runs(root)} == {digits, wine}
    assert list(swept(root)) == [digits]
    assert status(root, other) == "RUNNING"
    with pytest.raises(ParamsError, match="no run of 'digit'; it has runs of: digits, wine"):
        sweep(root, status_of=never_asked, pipeline="digit")


def test_an_empty_store_has_nothing_to_sweep(root):
    assert sweep(root, status_of=never_asked) == ()


def test_all_pages_are_swept(root, dead, monkeypatch):
    monkeypatch.setattr("headrace.pipelines.tracking.sweep._PAGE", 2)
    runs = [opened(root, dead) for _ in range(5)]
    swept(root)
    assert {status(root, run) for run in runs} == {"KILLED"}
