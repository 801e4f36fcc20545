"""Where a worker listens, from the choice of its port to the meeting of its group."""

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

WORKER = """
import json
from headrace.pipelines.ray_train.backend import _listen, _meet, rendezvous
assert rendezvous() is None
address = _listen("127.0.0.1", range(LOW, LOW + 50))
_meet([address, address], 1, bytes(range(32)))
place = rendezvous()
print(json.dumps([*address, place.rank, place.listener.getsockname()[1], repr(place)]), flush=True)
input()
"""


def test_a_worker_holds_its_port_of_the_range_from_its_choice_on(repository, free_ports):
    [low] = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER.replace("LOW", str(min(low, 65_000)))],
        cwd=repository,
        env={**os.environ, "HEADRACE_PORTS": "1024-1024"},  # of the node: what the training says goes first
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            host, port, rank, listening, shown = json.loads(process.stdout.readline())
            assert (host, rank, listening) == ("127.0.0.1", 1, port)
            assert min(low, 65_000) <= port < min(low, 65_000) + 50
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            assert "secret" not in shown
        finally:
            process.kill()
            process.communicate(timeout=30)


TRAINER = """
import sys
import tempfile
import time
from pathlib import Path
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from headrace.pipelines.ray_train.backend import TensorflowBackendConfig
from headrace.pipelines.ray_cluster.connect import ray_session

folder = Path(sys.argv[1])


def work(config):
    import ray.train, time
    from headrace.components.training.workers.rendezvous import connected
    from headrace.pipelines.ray_train.backend import rendezvous

    place, done = rendezvous(), Path(config["folder"]) / "done"
    with connected(place, timeout_seconds=60) as neighbours:
        (Path(config["folder"]) / f"secret-{place.rank}").write_bytes(place.secret)
        deadline_seconds = time.monotonic() + 120
        while not done.exists() and time.monotonic() < deadline_seconds:
            time.sleep(0.1)


with ray_session(num_workers=2):
    DataParallelTrainer(
        work,
        train_loop_config={"folder": str(folder)},
        backend_config=TensorflowBackendConfig(),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="ray", storage_path=str(folder / "storage")),
    ).fit()
"""


@pytest.mark.slow
@pytest.mark.long
def test_the_secret_of_a_group_is_in_no_file_log_environment_or_command_line(repository, tmp_path):
    """What Ray keeps is searched while the group is together: its session's folder, its processes, its storage."""
    shown = tmp_path / "shown"
    shown.mkdir()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short,  # a socket's path has 107 bytes at most
        subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(shown)],
            cwd=repository,
            env={**os.environ, "HOME": str(tmp_path), "TMPDIR": short, "RAY_TMPDIR": short},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            secrets = [read_when_there(shown / f"secret-{rank}", process) for rank in range(2)]
            assert len(secrets[0]) == 32
            assert secrets[0] == secrets[1] != bytes(32)
            forms = (secrets[0], secrets[0].hex().encode(), base64.b64encode(secrets[0]), repr(secrets[0]).encode())
            running = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            assert len(running) > 4
            kept = [Path(f"/proc/{one.pid}/{name}") for one in running for name in ("cmdline", "environ")]
            sessions = [file for file in Path(short).rglob("*") if file.is_file()]
            assert any("worker" in file.name for file in sessions)
            storage = [file for file in (shown / "storage").rglob("*") if file.is_file()]
            for file in (*kept, *sessions, *storage):
                content = file.read_bytes()
                assert not any(form in content for form in forms), file
            (shown / "done").touch()
            assert process.wait(timeout=120) == 0
        finally:
            (shown / "done").touch()
            process.kill()


def read_when_there(file: Path, process: subprocess.Popen) -> bytes:
    deadline_seconds = time.monotonic() + 180
    while not (file.exists() and file.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < deadline_seconds
        time.sleep(0.1)
    return file.read_bytes()
