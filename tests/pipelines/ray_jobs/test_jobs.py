"""Ray's job server as it is, with token authentication, and a small one of our own that fails on purpose."""

import asyncio
import socket
import time
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.distributed_plan import DriverResources
from headrace.pipelines.ray_jobs import job_server, jobs
from headrace.pipelines.ray_jobs.jobs import STOP_GRACE_VARIABLE, Cluster, RayJobs, cluster_from_environment, last_error
from headrace.pipelines.ray_jobs.package import package
from headrace.pipelines.ray_jobs.submit import job_id

TOKEN = "0123456789abcdef" * 4
TICKS = "for i in 0 1 2 3 4 5 6 7 8 9; do echo tick $i; sleep 0.5; done; printf 'no line end'"
LEAVES_SLOWLY = (
    "trap 'echo stop requested; sleep 5; echo left; exit 0' TERM; echo ready; while true; do sleep 0.1; done"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def submit(server: RayJobs, name: str, entrypoint: str, **runtime_env) -> bool:
    return await server.submit(submission_id=name, entrypoint=entrypoint, runtime_env=runtime_env, metadata={"a": "b"})


async def read(server: RayJobs, name: str, after: int = 0) -> list[str]:
    return [line async for line in server.log(name, after=after)]


@pytest.mark.slow
def test_a_job_from_submission_to_its_end(head):
    async def scenario():
        async with RayJobs(head.cluster) as server:
            assert await server.find("a+job:1/2") is None
            assert await submit(server, "a+job:1-2", "echo hello") is True
            assert await submit(server, "a+job:1-2", "echo something else") is False
            assert "hello" in await read(server, "a+job:1-2")
            job = await server.find("a+job:1-2")
            assert (job.status, job.exit_code, job.metadata) == ("SUCCEEDED", 0, {"a": "b"})
            assert job.entrypoint == "echo hello"
            assert time.time() - 60 < job.start_seconds < job.end_seconds < time.time()
            assert await server.stop("a+job:1-2", grace_seconds=1) == job
            assert job in await server.list()

    asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.long
def test_a_driver_waits_for_what_is_reserved_for_it(head):
    async def scenario():
        async with RayJobs(head.cluster) as server:
            name = {"submission_id": "driver", "entrypoint": "echo hello", "runtime_env": {}, "metadata": {}}
            await server.submit(**name, driver=DriverResources(cores=0.5, memory_bytes=2**20, labels={"size": "!big"}))
            assert "hello" in await read(server, "driver")
            for number, driver in enumerate((DriverResources(cores=999), DriverResources(labels={"size": "big"}))):
                waiting = {**name, "submission_id": f"waiting-{number}"}
                await server.submit(**waiting, driver=driver)
                await asyncio.sleep(2)
                assert (await server.find(waiting["submission_id"])).status == "PENDING"
            with pytest.raises(ServiceError, match=r"waits for a node with room for its driver.*see train\.driver"):
                await server.stop("waiting-0", grace_seconds=-10)  # ten less than Ray's own margin

    asyncio.run(scenario())


@pytest.mark.slow
def test_who_has_no_token_or_another_is_refused(head):
    async def scenario(cluster: Cluster) -> str:
        async with RayJobs(cluster) as server:
            await server.require_authentication()
            with pytest.raises(ServiceError) as caught:
                await server.list()
        return str(caught.value)

    assert "was given none (401): put the cluster's token into RAY_AUTH_TOKEN" in asyncio.run(
        scenario(Cluster(head.cluster.address))
    )
    said = asyncio.run(scenario(Cluster(head.cluster.address, token="wrong")))
    assert "refuses the token" in said
    assert "wrong" not in said


@pytest.mark.slow
def test_a_log_is_read_as_it_grows_each_line_once_also_when_a_part_of_ray_dies(head):
    async def left_and_back() -> list[str]:
        lines: list[str] = []
        async with RayJobs(head.cluster) as server, aclosing(server.log("ticks")) as log:
            lines += [line async for line in until(log, "tick 2")]
        async with RayJobs(head.cluster) as server:
            return lines + await read(server, "ticks", after=len(lines))

    async def disturbed(server: RayJobs) -> list[str]:
        lines = []
        async for line in server.log("ticks"):
            lines.append(line)
            if line == "tick 5":
                assert (await server.find("ticks")).status == "RUNNING"
                head.kill("JobHead")  # the dashboard starts it again
        return lines

    async def scenario():
        async with RayJobs(head.cluster) as server:
            await submit(server, "ticks", TICKS)
            lines, others = await asyncio.gather(disturbed(server), left_and_back())
            assert others == lines
            assert [line for line in lines if line.startswith("tick")] == [f"tick {i}" for i in range(10)]
            assert lines[-1] == "no line end"
            assert await read(server, "ticks", after=7) == lines[7:]
            assert await read(server, "ticks", after=100) == []

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_job_that_is_stopped_has_the_time_it_was_given(head):
    async def scenario():
        async with RayJobs(head.cluster) as server:
            await submit(server, "patient", LEAVES_SLOWLY, env_vars={STOP_GRACE_VARIABLE: "20"})
            await submit(server, "hasty", LEAVES_SLOWLY)
            for name in ("patient", "hasty"):
                async with aclosing(server.log(name)) as log:
                    assert "ready" in [line async for line in until(log, "ready")]
            stops = [server.stop(name, grace_seconds=20) for name in ("patient", "hasty")]
            patient, hasty = await asyncio.gather(*stops)
            assert patient.status == hasty.status == "STOPPED"
            assert (await read(server, "patient"))[-2:] == ["stop requested", "left"]
            assert (await read(server, "hasty"))[-1] == "stop requested"  # Ray's own three seconds are not enough
            assert patient.end_seconds - hasty.end_seconds > 1

    asyncio.run(scenario())


async def until(log, last: str):
    async for line in log:
        yield line
        if line == last:
            return


@pytest.mark.slow
def test_a_failed_job_says_why(head):
    async def scenario():
        async with RayJobs(head.cluster) as server:
            await submit(server, "failing", "echo fine; echo error: no such pipeline >&2; exit 2")
            await submit(server, "killed", "kill -9 $$")
            log, _ = await asyncio.gather(read(server, "failing"), read(server, "killed"))
            assert last_error("\n".join(log)) == "no such pipeline"
            job = await server.find("failing")
            assert (job.status, job.exit_code, last_error(job.message)) == ("FAILED", 2, "no such pipeline")
            job = await server.find("killed")
            assert (job.status, job.exit_code) == ("FAILED", -9)

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_package_is_where_the_job_starts(head, tmp_path):
    (tmp_path / "params.yaml").write_text("a: 1\n")

    async def scenario():
        async with RayJobs(head.cluster) as server:
            uri = await server.ship(package(tmp_path, extra={"deep/extra.json": b"{}\n"}))
            assert await server.ship(package(tmp_path, extra={"deep/extra.json": b"{}\n"})) == uri
            await submit(server, "shipped", "cat params.yaml deep/extra.json", working_dir=uri)
            lines = await read(server, "shipped")  # Ray's own may come after them
            assert [line for line in lines if line in ("a: 1", "{}")] == ["a: 1", "{}"]

    asyncio.run(scenario())


class Failing:
    """A job server with one job that runs until `stopped`, and that can be made to misbehave."""

    def __init__(self) -> None:
        self.submitted = self.tails = 0
        self.behaviour = "well"
        self.authorizations: list[str] = []
        self.log = "".join(f"line {i}\n" for i in range(6))
        self.status = "RUNNING"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization", ""))
        if request.method == "POST" and request.path == "/api/jobs/":
            return await self._submit(request)
        if self.behaviour in ("proxy", "redirect", "broken", "page"):
            status, text = {"proxy": (404, "no route"), "broken": (503, f"down, {TOKEN}"), "page": (200, "<p>")}.get(
                self.behaviour, (302, "")
            )
            return web.Response(status=status, text=text, headers={"Location": "/elsewhere"})
        if request.path.endswith("/tail"):
            return await self._tail(request)
        if request.path.endswith("/logs"):
            return web.json_response({"logs": self.log})
        if not self.submitted:
            return web.Response(status=404, text="Job one does not exist")
        return web.json_response({"submission_id": "one", "status": self.status, "entrypoint": "x"})

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        if self.behaviour == "refuses":
            return web.Response(status=400, text="Traceback:\nTypeError: metadata\n.\n")
        if self.submitted:
            return web.Response(status=500, text="already exists")
        self.submitted += 1
        if self.behaviour == "hangs":
            await asyncio.sleep(5)
        elif self.behaviour == "breaks":
            request.transport.close()
        return web.json_response({})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        """More of the log each time, in pieces that are no lines, then a break."""
        self.tails += 1
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        for start in range(0, 18 * self.tails, 4):
            await stream.send_str(self.log[start : start + 4])
        self.status = "RUNNING" if self.tails < 2 else "SUCCEEDED"
        request.transport.close()
        return stream


@asynccontextmanager
async def serving(server: Failing, *, timeout_seconds: float = 1.0):
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", free_port())
    await site.start()
    try:
        async with RayJobs(Cluster(site.name, token=TOKEN), timeout_seconds=timeout_seconds) as connection:
            yield connection
    finally:
        await runner.cleanup()


@pytest.fixture
def failing(monkeypatch) -> Failing:
    monkeypatch.setattr(job_server, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(jobs, "_STOP_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.05)
    return Failing()


@pytest.mark.parametrize("behaviour", ["hangs", "breaks"])
def test_an_answer_that_is_lost_makes_no_second_job(failing, behaviour):
    async def scenario():
        async with serving(failing, timeout_seconds=0.3) as server:
            failing.behaviour = behaviour
            assert await submit(server, "one", "x") is True
            assert await submit(server, "one", "x") is False

    asyncio.run(scenario())
    assert failing.submitted == 1


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("proxy", "it answered 404: no route"),  # must not be taken for a job that is gone
        ("redirect", "it answered 302"),  # a token follows nobody
        ("broken", r"it answered 503: down, \.\.\."),  # and no error repeats it
        ("page", "did not answer with JSON"),
    ],
)
def test_what_is_no_job_server_is_said_to_be_none(failing, behaviour, message):
    async def scenario():
        failing.behaviour = behaviour
        async with serving(failing) as server:
            with pytest.raises(ServiceError, match=message):
                await server.find("one")

    asyncio.run(scenario())
    assert len(failing.authorizations) == (3 if behaviour == "broken" else 1)


def test_a_request_that_ray_refuses_is_not_repeated(failing):
    async def scenario():
        failing.behaviour = "refuses"
        async with serving(failing) as server:
            with pytest.raises(ServiceError, match="did not take job one: it answered 400: TypeError: metadata"):
                await submit(server, "one", "x")

    asyncio.run(scenario())


def test_a_cluster_that_answers_anybody_is_refused(failing):
    async def scenario():
        failing.submitted = 1
        async with serving(failing) as server:
            with pytest.raises(ServiceError, match="RAY_AUTH_MODE=token"):
                await server.require_authentication()

    asyncio.run(scenario())
    assert failing.authorizations == [""]


def test_a_cluster_of_another_ray_is_refused_and_one_of_the_same_is_not(head, free_ports):
    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.59.0", "ray_commit": "", "session_name": "s"})

    async def scenario() -> str:
        async with RayJobs(head.cluster) as server:
            await server.require_version()
        application = web.Application()
        application.router.add_get("/api/version", version)
        runner, [port] = web.AppRunner(application), free_ports(1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            async with RayJobs(Cluster(f"http://127.0.0.1:{port}")) as server:
                with pytest.raises(ParamsError) as caught:
                    await server.require_version()
        finally:
            await runner.cleanup()
        return str(caught.value)

    said = asyncio.run(scenario())
    assert "has version 2.59.0, this machine" in said
    assert "requirements.lock" in said


def test_a_job_that_does_not_stop_is_reported(failing):
    async def scenario():
        failing.submitted = 1
        async with serving(failing) as server:
            with pytest.raises(ServiceError, match="Ray job one still lives"):
                await server.stop("one", grace_seconds=0.2)

    asyncio.run(scenario())


def test_a_log_in_pieces_is_one_of_lines_also_when_the_socket_breaks(failing):
    async def scenario():
        failing.submitted = 1
        async with serving(failing) as server:
            assert await read(server, "one") == [f"line {i}" for i in range(6)]
        assert failing.tails == 2

    asyncio.run(scenario())


def test_a_job_that_the_cluster_forgot_has_no_log_and_no_end(failing):
    async def scenario():
        async with serving(failing) as server:
            for waiting in (read(server, "one"), server.stop("one", grace_seconds=1)):
                with pytest.raises(ServiceError, match="knows no job one: it was restarted"):
                    await waiting

    asyncio.run(scenario())


def test_a_server_that_is_not_there_is_reported_soon(failing):
    async def scenario():
        async with RayJobs(Cluster(f"http://127.0.0.1:{free_port()}", token=TOKEN)) as server:
            with pytest.raises(ServiceError, match="can't reach Ray's job server") as caught:
                await server.find("one")
            assert TOKEN not in repr(caught.value)

    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 2  # and the pauses between four attempts, 3.5 s


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ("fine\n\x1b[31merror: params.yaml: epochs: too many\x1b[0m\nshutting down\n", "params.yaml: epochs: too many"),
        ("Traceback (most recent call last):\n  File x\n    y\nValueError: bad\n  more\nbye\n", "ValueError: bad"),
        # a chain of errors: the last is the one that ended the job
        (
            "Traceback (most recent call last):\n  a\nKeyError\n\nTraceback (most recent call last):\n  b\nOSError\n",
            "OSError",
        ),
        # a worker's traceback, as Ray forwards it
        (
            "(Worker pid=7, ip=1.2.3.4) Traceback (most recent call last):\n(Worker pid=7)   a\n(Worker pid=7) E: x\n",
            "E: x",
        ),
        ("Traceback (most recent call last):\n  a\nOSError\nerror: can't reach MLflow\n", "can't reach MLflow"),
        ("error: a trial\nTraceback (most recent call last):\n  a\nOSError: the job\n", "OSError: the job"),
    ],
)
def test_last_error(log, expected):
    assert last_error(log) == expected


@pytest.mark.parametrize(
    ("settings", "token"),
    [
        ({}, "of the home"),
        ({"RAY_AUTH_TOKEN": "given\n", "RAY_AUTH_TOKEN_PATH": "{named}"}, "given"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "{named}"}, "of-the-file"),
        ({"RAY_AUTH_TOKEN_PATH": ""}, "of the home"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "given"}, None),
    ],
)
def test_the_token_is_where_ray_finds_it(tmp_path, monkeypatch, settings, token):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "HEADRACE_RAY_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-the-home\n")
    (tmp_path / "named").write_text(" of-the-file\n")
    monkeypatch.setenv("RAY_ADDRESS", "https://ray.example.org:8265")
    for name, value in settings.items():
        monkeypatch.setenv(name, value.format(named=tmp_path / "named"))
    found = cluster_from_environment()
    assert found == Cluster("https://ray.example.org:8265", token=token and token.replace(" ", "-"), verify=True)
    assert token is None or found.token not in repr(found)


@pytest.mark.parametrize("address", ["", "auto", "ray://host:10001", "127.0.0.1:6379", "http://me:secret@host:8265"])
def test_an_address_that_is_no_job_server_is_refused(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with pytest.raises(ParamsError, match="expected http") as caught:
        cluster_from_environment()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "token", "warnings"),
    [
        ("http://192.0.2.7:8265", TOKEN, 1),  # once, however many connections
        ("http://192.0.2.8:8265", None, 0),
        ("https://192.0.2.7:8265", TOKEN, 0),
        ("http://127.0.0.1:8265", TOKEN, 0),
        ("http://[::1]:8265", TOKEN, 0),
    ],
)
def test_a_token_that_goes_over_a_network_unencrypted_is_warned_of(address, token, warnings):
    async def connect_twice():
        for _ in range(2):
            async with job_server.JobServer(Cluster(address, token), timeout_seconds=1):
                pass

    with capture_logs() as lines:
        asyncio.run(connect_twice())
    assert [line["log_level"] for line in lines] == ["warning"] * warnings
    assert TOKEN not in str(lines)


@pytest.mark.parametrize(("state", "status"), [("ALIVE", "RUNNING"), ("DEAD", "FAILED"), (None, "FAILED")])
def test_a_job_whose_node_died_with_the_head_has_failed_although_ray_says_that_it_runs(state, status):
    job = {"type": "SUBMISSION", "submission_id": "a", "status": "RUNNING", "entrypoint": "x", "driver_node_id": "n"}
    nodes = [{"raylet": {"nodeId": "n", "state": state}}] if state else []

    async def answer(request):
        if request.path == "/nodes":
            return web.json_response({"data": {"summary": nodes}})
        return web.json_response(job if request.path.endswith("/a") else [job])

    async def scenario():
        app = web.Application()
        app.router.add_get("/{tail:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", free_port())
        await site.start()
        try:
            async with RayJobs(Cluster(site.name)) as server:
                return [await server.find("a"), *await server.list()]
        finally:
            await runner.cleanup()

    assert [found.status for found in asyncio.run(scenario())] == [status, status]


def test_a_job_is_named_by_training_owner_and_generation():
    """Two owners that submit the same concurrently must not get each other's job."""
    names = {job_id(run, owner=owner, generation=n) for run in "ab" for owner in ("hand", "dag") for n in (1, 2)}
    assert len(names) == 8
    assert job_id("a", owner="hand", generation=1) == job_id("a", owner="hand", generation=1)
