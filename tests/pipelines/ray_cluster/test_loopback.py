"""Ray inside a process: who else on the machine, or outside of it, could get at it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from headrace.pipelines.ray_cluster.loopback import VARIABLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# Prints what a session opens: addresses, modes, the length of its token; and what is left of it.
SESSION = """
import json, os, sys
import psutil, ray
from headrace.pipelines.ray_cluster.connect import ray_session

@ray.remote
def here():
    return ray.util.get_node_ip_address()

try:
    with ray_session(num_workers=1):
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        ends = [end for one in processes for end in one.net_connections("inet")]
        listening = sorted({end.laddr.ip for end in ends if end.status == psutil.CONN_LISTEN})
        folder = os.path.dirname(ray._private.worker.global_worker.node.temp_dir)
        found = {"listening": listening, "worker": ray.get(here.remote()), "folder": folder}
        found |= {"mode": oct(os.stat(folder).st_mode & 0o777), "token": len(os.environ["RAY_AUTH_TOKEN"])}
        found |= {"auth": os.environ["RAY_AUTH_MODE"]}
        if "fail" in sys.argv:
            raise ValueError("a bug")
except ValueError:
    pass
alive = [one.name() for one in processes[1:] if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
kept = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
print(json.dumps({**found, "alive": alive, "is_kept": os.path.exists(folder), "environment": kept}))
"""


def session(repository: Path, home: Path, *arguments: str, **variables: str) -> dict:
    environment = {**os.environ, "HOME": str(home), **variables}
    command = [sys.executable, "-c", SESSION, *arguments]
    ended = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_it_listens_on_loopback_alone_and_leaves_nothing(repository, tmp_path):
    """Not even a user who has switched Ray's tokens off gets a session that is open to the machine."""
    found = session(repository, tmp_path, RAY_AUTH_MODE="disabled")
    assert set(found["listening"]) == {"127.0.0.1", "::ffff:127.0.0.1"}
    assert found["worker"] == "127.0.0.1"
    assert (found["mode"], found["auth"], found["token"]) == ("0o700", "token", 64)
    assert (found["alive"], found["is_kept"]) == ([], False)
    assert found["environment"] == {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": None}
    assert not (tmp_path / ".ray").exists()


def test_logs_of_a_session_that_failed_are_kept_for_its_user_alone(repository, tmp_path):
    temporary = tmp_path / "a folder of temporary files whose path is too long for a socket"
    temporary.mkdir()
    found = session(repository, tmp_path, "fail", TMPDIR=str(temporary))
    folder = Path(found["folder"])
    try:
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o077 == 0
        assert list(folder.glob("ray/session_latest/logs/raylet.*"))
    finally:
        shutil.rmtree(folder)


DRIVER = """
import json, sys
import psutil, ray

@ray.remote
def ports():
    ends = psutil.Process().net_connections("inet")
    return [end.laddr.port for end in ends if end.status == psutil.CONN_LISTEN]

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps(ray.get(ports.remote())))
"""


@pytest.mark.long
def test_a_node_with_the_documented_options_listens_at_the_documented_ports_alone(repository, tmp_path):
    page = (repository / "docs" / "security.md").read_text()
    variables = dict(re.findall(r"(\w+_METRIC_PORT)=(\d+)", page))
    ports = re.findall(r"--[\w-]+-port=\d+|--port=\d+", page)
    temporary = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **variables, **token, **VARIABLES, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "infra.stack.ray_node", "start", "--block", "--head", "--num-cpus=1", *ports]
    command += ["--node-ip-address=127.0.0.1", f"--temp-dir={temporary}", "--object-store-memory=100000000"]
    node = psutil.Popen(command, cwd=repository, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        driver = [sys.executable, "-c", DRIVER, "127.0.0.1:20000"]
        deadline_seconds = time.monotonic() + 90
        while True:
            ended = subprocess.run(driver, env=environment, capture_output=True, text=True, check=False, timeout=90)
            if ended.returncode == 0:
                break
            assert time.monotonic() < deadline_seconds, ended.stderr
        ends = [end for one in node.children(recursive=True) for end in one.net_connections("inet")]
        listening = {end.laddr.port for end in ends if end.status == psutil.CONN_LISTEN}
        assert len(listening) > 8
        assert {port for port in (*listening, *json.loads(ended.stdout)) if not 20000 <= port <= 20099} == set()
    finally:
        for one in (*node.children(recursive=True), node):
            one.kill()
        node.wait(30)
        shutil.rmtree(temporary, ignore_errors=True)
