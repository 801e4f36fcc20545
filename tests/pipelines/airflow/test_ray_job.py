"""Tasks that follow jobs of a real Ray job server; Airflow itself is a fake."""

import asyncio
import importlib.util
import json
import re
import shlex
import sys
from types import SimpleNamespace

import pytest

from headrace.pipelines.ray_jobs.jobs import RayJobs

pytestmark = pytest.mark.slow


@pytest.fixture
def connection(head, monkeypatch):
    """The Airflow connection to the cluster; its token is in no argument of a task or trigger."""
    said = {"conn_type": "ray", "host": head.cluster.address, "password": head.cluster.token}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(said))
    return said


def operator(task_id: str, entrypoint: str, **options):
    from headrace.pipelines.airflow.ray_job import RayJobOperator

    return RayJobOperator(task_id=task_id, entrypoint=entrypoint, **options)


def context_of(task) -> dict:
    place = SimpleNamespace(dag_id="dag", run_id="run", task_id=task.task_id, map_index=-1)
    return {"ti": place, "task_state_store": SimpleNamespace(set=lambda *_: None)}


def submitted(task) -> str:
    """The job's id, as the deferred task's trigger is given it."""
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context_of(task))
    assert deferred.value.method_name == "resume"
    return deferred.value.trigger.submission_id


async def event_of(submission_id: str, **options) -> dict:
    from headrace.pipelines.airflow.trigger import RayJobTrigger

    trigger = RayJobTrigger(submission_id=submission_id, ray_conn_id="ray_default", **options)
    path, settings = trigger.serialize()
    assert path == "headrace.pipelines.airflow.trigger.RayJobTrigger"
    assert settings["submission_id"] == submission_id
    [event] = [event async for event in trigger.run()]
    return event.payload


def test_a_job_runs_once_however_often_its_task_is_retried(connection, capsys):
    task = operator("hello", "echo hello; sleep 1; echo bye")
    first = submitted(task)
    assert submitted(task) == first  # while it runs
    event = asyncio.run(event_of(first))
    assert event["status"] == "SUCCEEDED"
    shown = capsys.readouterr().out
    assert [len(re.findall(rf"\] {word}\s", shown)) for word in ("hello", "bye")] == [1, 1]
    assert task.resume({}, event) == first
    assert submitted(task) == first  # after it has succeeded


def test_another_command_is_another_job(connection):
    assert submitted(operator("same", "echo 1")) != submitted(operator("same", "echo 2"))


def test_a_job_that_failed_fails_its_task_with_its_own_last_error_and_is_followed_by_the_next(connection):
    from headrace.pipelines.airflow.retry_policy import StageFailed

    task = operator("fails", "echo 'error: no such column'; exit 2")
    first = submitted(task)
    event = asyncio.run(event_of(first))
    with pytest.raises(StageFailed, match="no such column") as failed:
        task.resume({}, event)
    assert failed.value.cause.name == "MISTAKE"
    assert submitted(task) == f"{first.removesuffix('-1')}-2"


def test_a_job_that_was_stopped_by_somebody_else_is_retried(connection, head):
    from headrace.pipelines.airflow.retry_policy import StageFailed

    task = operator("stopped", "sleep 100")
    first = submitted(task)

    async def scenario():
        async with RayJobs(head.cluster) as jobs:
            watching = asyncio.create_task(event_of(first))
            await asyncio.sleep(3)
            await jobs.stop(first, grace_seconds=5)
            return await watching

    event = asyncio.run(scenario())
    assert event["status"] == "STOPPED"
    with pytest.raises(StageFailed) as failed:
        task.resume({}, event)
    assert failed.value.cause.name == "LOST"


def test_a_job_that_takes_longer_than_it_may_is_stopped(connection, head):
    import time

    from headrace.pipelines.airflow.retry_policy import StageFailed

    task = operator("long", "sleep 100", stop_grace_seconds=2)
    first = submitted(task)
    event = asyncio.run(event_of(first, deadline_seconds=time.time() + 3))
    assert event["status"] == "TIMEOUT"
    with pytest.raises(StageFailed):
        task.resume({}, event)

    async def status():
        async with RayJobs(head.cluster) as jobs:
            return (await jobs.find(first)).status

    assert asyncio.run(status()) == "STOPPED"


def test_a_kill_of_a_trigger_stops_its_job_but_not_anothers(connection, head):
    from headrace.pipelines.airflow.trigger import RayJobTrigger

    async def status_after_kill(name: str, *, is_ours: bool) -> str:
        settings = {"ray_conn_id": "ray_default", "stop_grace_seconds": 2.0, "is_ours": is_ours}
        await RayJobTrigger(submission_id=name, **settings).on_kill()
        async with RayJobs(head.cluster) as jobs:
            return (await jobs.find(name)).status

    names = [submitted(operator(f"kill_{number}", "sleep 100", stop_grace_seconds=2)) for number in range(2)]
    assert asyncio.run(status_after_kill(names[0], is_ours=True)) == "STOPPED"
    assert asyncio.run(status_after_kill(names[1], is_ours=False)) in ("PENDING", "RUNNING")


def test_a_kill_that_airflow_cancels_again_and_again_still_stops_the_job(connection, head):
    from headrace.pipelines.airflow.trigger import RayJobTrigger

    name = submitted(operator("cancelled", "sleep 100", stop_grace_seconds=2))

    async def status_after_kill() -> str:
        trigger = RayJobTrigger(submission_id=name, ray_conn_id="ray_default", stop_grace_seconds=2.0)
        killing = asyncio.create_task(trigger.on_kill())
        while not killing.done():
            await asyncio.sleep(0.01)
            killing.cancel("user-action")
        async with asyncio.timeout(30), RayJobs(head.cluster) as jobs:
            while (status := (await jobs.find(name)).status) in ("PENDING", "RUNNING"):
                await asyncio.sleep(0.2)
        return status

    assert asyncio.run(status_after_kill()) == "STOPPED"


def test_a_job_that_nobody_knows_any_more_is_lost(connection):
    event = asyncio.run(event_of("never-submitted-1"))
    assert event["status"] == "VANISHED"


def test_a_task_that_is_not_deferrable_waits_itself(connection):
    task = operator("waits", "echo hello", deferrable=False)
    assert task.execute(context_of(task)).startswith("waits-")


def test_a_cluster_without_authentication_is_refused(connection, monkeypatch, tmp_path):
    """A server of our own that answers everybody, as an open cluster does."""
    from headrace.pipelines.airflow.ray_job import RayJobOperator

    assert RayJobOperator.template_fields  # imported before the event loop begins

    async def scenario():
        from aiohttp import web

        async def version(_request):
            return web.json_response({"ray_version": "2.60.0"})

        app = web.Application()
        app.router.add_get("/api/version", version)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        monkeypatch.setenv(
            "AIRFLOW_CONN_RAY_DEFAULT", json.dumps({"conn_type": "ray", "host": f"http://127.0.0.1:{port}"})
        )
        task = operator("open", "echo 1")
        try:
            return await asyncio.to_thread(task.execute, context_of(task))
        finally:
            await runner.cleanup()

    from headrace.components.errors import ServiceError

    with pytest.raises(ServiceError, match="without a token"):
        asyncio.run(scenario())


def test_the_example_of_a_dag_of_ones_own_runs_its_job(connection, capsys, repository):
    file = repository / "examples" / "ray_job_in_a_dag" / "dag.py"
    spec = importlib.util.spec_from_file_location("example_dag", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    [task] = module.dag.tasks
    task.entrypoint = task.entrypoint.replace("python", shlex.quote(sys.executable))  # that of a node with Ray
    event = asyncio.run(event_of(submitted(task)))
    assert event["status"] == "SUCCEEDED"
    assert "6 words" in capsys.readouterr().out
