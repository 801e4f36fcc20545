"""`headrace runs`, with a real MLflow store and a job server that answers as Ray's does."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.commands.runs import job_state, list_runs, sweep_runs
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking.mlflow_runs import close_run, open_run
from headrace.pipelines.tracking.server import connect
from headrace.pipelines.tracking.sweep import JobState, owner_tags

LOG = "Job entrypoint command failed with exit code 2, last available logs:\nepoch 1/5\nerror: the loss is nan\n"
JOBS = {"going": "RUNNING", "done": "SUCCEEDED", "broken": "FAILED"}


@pytest.fixture
def served(web_server):
    """Knows three jobs, and each token that it was shown."""

    @contextmanager
    def serve():
        tokens: list[str | None] = []

        def answer(request) -> tuple[int, bytes]:
            tokens.append(request.headers.get("Authorization"))
            name = request.path.rpartition("/")[2]
            known = {
                "submission_id": name,
                "type": "SUBMISSION",
                "status": JOBS.get(name),
                "message": LOG if JOBS.get(name) == "FAILED" else "",
                "entrypoint": "headrace train digits",
                "metadata": {},
                "start_time": 1000,
                "end_time": None,
                "driver_exit_code": None,
            }
            return (200, json.dumps(known).encode()) if name in JOBS else (404, f"Job {name} does not exist".encode())

        with web_server(answer) as address:
            yield SimpleNamespace(address=address, tokens=tokens)

    return serve


@pytest.fixture
def project(project_root, monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return ProjectPaths(project_root)


def opened(project, name, *, process=None, **job):
    owner = owner_tags(**job) | ({"process": process} if process else {})
    tags = {f"headrace.{key}": value for key, value in owner.items()}
    return open_run(project.root, experiment="headrace/digits", run_name=name, tags=tags, params={"epochs": 5})


def swept(project, capsys, *, dry_run=False):
    """Each line of the table by its run's name, and the last line."""
    sweep_runs(project, None, unreachable_after_hours=24.0, dry_run=dry_run)
    *table, last = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in table[1:]}, last


def test_runs_become_what_ray_says_of_their_jobs(served, project, capsys):
    with served() as server:
        runs = {name: opened(project, name, submission_id=name, address=server.address) for name in JOBS}
        runs["lost"] = opened(project, "lost", submission_id="lost", address=server.address, process="1:1")
        would, last = swept(project, capsys, dry_run=True)
        assert last == "3 would be closed, 1 left RUNNING"
        lines, last = swept(project, capsys)
        assert lines == would
        assert last == "3 closed, 1 left RUNNING"
        assert "is RUNNING" in lines["going"]
        assert "failed: the loss is nan" in lines["broken"]
        assert "vanished" in lines["lost"]
        again, last = swept(project, capsys)
    assert list(again) == ["going"]
    assert last == "0 closed, 1 left RUNNING"
    status = {name: connect(project.root).get_run(run).info.status for name, run in runs.items()}
    assert status == {"going": "RUNNING", "done": "FINISHED", "broken": "FAILED", "lost": "FAILED"}


def test_a_token_goes_to_the_cluster_of_this_environment_only(served, project, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token")
    with served() as ours, served() as another:
        monkeypatch.setenv("RAY_ADDRESS", f"{ours.address}/")
        assert job_state(ours.address, "done") == JobState("SUCCEEDED", "")
        assert job_state(another.address, "none") is None
    assert (ours.tokens, another.tokens) == (["Bearer a-token"], [None])


def test_an_address_that_is_none_is_as_a_cluster_that_is_away(project):
    with pytest.raises(ServiceError, match="expected http"):
        job_state("auto", "done")


def test_the_newest_runs_are_listed_with_how_they_ended(project, capsys):
    for number in range(3):
        run = opened(project, f"digits-{number}", process="1:1")
    close_run(project.root, run, status="FAILED", reason="[/worker 0] the loss is nan")
    list_runs(project, "digits", limit=2)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "status", "started", "took", "where", "reason"]
    assert [line.split()[:2] for line in lines] == [["digits-2", "FAILED"], ["digits-1", "RUNNING"]]
    assert "[/worker 0] the loss is nan" in lines[0]
    with pytest.raises(ParamsError, match="no run of 'wine'"):
        list_runs(project, "wine")


def test_without_runs_there_is_nothing_to_show(project, capsys):
    list_runs(project, None)
    assert capsys.readouterr().out == "no runs\n"
    assert swept(project, capsys) == ({}, "0 closed, 0 left RUNNING")
