"""Ray as it is found: a cluster of another version, and what it makes of a signal."""

import os
import subprocess
import sys
import tempfile

import psutil
import pytest

# `ray start` of a Ray that believes to be older.
OLDER_RAY = """
import ray, sys
ray.__version__ = "2.59.0"
from ray.scripts.scripts import main
sys.argv = ["ray", *sys.argv[1:]]
main()
"""


CONNECT = """
from headrace.pipelines.ray_cluster.connect import ray_session
with ray_session(num_workers=1):
    print("connected")
"""


@pytest.mark.slow
def test_a_cluster_of_another_ray_is_refused_before_any_work(tmp_path, free_ports, until_answered):
    [port] = free_ports(1)
    own = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **own, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    folder = tempfile.mkdtemp(prefix="ray")
    command = [sys.executable, "-c", OLDER_RAY, "start", "--head", "--block", "--include-dashboard=false"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=0", "--object-store-memory=100000000"]
    command += [f"--temp-dir={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **own}) as head:
        try:
            for line in head.stdout:
                if "Ray runtime started" in line:
                    break
            connect = [sys.executable, "-c", CONNECT]
            with until_answered():
                ended = subprocess.run(
                    connect, env=environment, capture_output=True, text=True, timeout=60, check=False
                )
        finally:
            for one in [*psutil.Process(head.pid).children(recursive=True), head]:
                one.kill()
    *_, last = ended.stderr.splitlines()
    assert last.startswith("headrace.components.errors.ParamsError: the Ray cluster at RAY_ADDRESS=127.0.0.1:")
    assert "started with: Ray: 2.59.0 " in last
    assert "connected" not in ended.stdout


SIGNALLED_IN_RAY = """
import os, signal, threading, time, ray
from headrace.pipelines.host.processes import signals_as_errors, why_interrupted
from headrace.pipelines.ray_cluster.connect import ray_session
with ray_session(num_workers=1):
    result = ray.remote(lambda: time.sleep(100)).remote()
    with signals_as_errors():
        threading.Timer(2, os.kill, (os.getpid(), signal.SIGHUP)).start()
        try:
            ray.get(result)
        except KeyboardInterrupt as error:
            print(why_interrupted(error))
"""


@pytest.mark.slow
def test_a_signal_keeps_its_name_where_ray_raises_an_error_of_its_own():
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", SIGNALLED_IN_RAY]
    ended = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)
    assert "ended by SIGHUP\n" in ended.stdout, ended.stdout + ended.stderr


SLOW_RAY = """
import ray
def init(**_settings):
    raise Exception("The current node timed out during startup. This could happen because ...")
ray.init = init
"""


def test_a_node_that_does_not_start_in_time_may_do_so_later():
    """Ray allows 30 s, and raises a bare Exception: on a busy machine that is no bug of ours."""
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", SLOW_RAY + CONNECT]
    ended = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)
    *_, last = ended.stderr.splitlines()
    assert last.startswith("headrace.components.errors.ServiceError: can't start or reach Ray on this machine: The")
