"""Training on a Ray cluster of several nodes, each a raylet of its own, some of which are lost and come back."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow


class Cluster:
    """A head without cores, and nodes of one core each."""

    def __init__(self, home: Path) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie below it
        self._processes: list[subprocess.Popen] = []
        self._environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        self._environment |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        head = ["--head", f"--port={self.address.rpartition(':')[2]}", "--num-cpus=0", "--include-dashboard=false"]
        self._start(*head, f"--temp-dir={self._temporary}")

    @property
    def environment(self) -> dict[str, str]:
        names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
        return {"RAY_ADDRESS": self.address, **{name: self._environment[name] for name in names}}

    def add_node(self) -> psutil.Process:
        """Start a node and return its raylet."""
        return self._raylet(self._start(f"--address={self.address}", "--num-cpus=1"))

    def stop(self) -> None:
        for process in reversed(self._processes):
            for one in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                one.kill()
            process.kill()
            process.wait(30)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(self, *options: str) -> subprocess.Popen:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address=127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--object-store-memory=100000000", *options],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        self._raylet(process)
        return process

    @staticmethod
    def _raylet(process: subprocess.Popen) -> psutil.Process:
        deadline_seconds = time.monotonic() + 60
        while time.monotonic() < deadline_seconds:
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.name() == "raylet":
                    return child
            time.sleep(0.2)
        raise AssertionError("no raylet within 60 s")


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def read_until(process: subprocess.Popen, pattern: str) -> str:
    output = ""
    for line in process.stdout:
        output += line
        if re.search(pattern, line):
            return output
    raise AssertionError(f"no {pattern!r} in: {output}")


def test_a_lost_node_is_replaced_by_a_spare_one(undisturbed, disturbed, cluster):
    nodes = [cluster.add_node() for _ in range(3)]
    process, output = disturbed.start_until("epoch 2/6", **cluster.environment)
    used = [node for node in nodes if any("RayTrainWorker" in " ".join(one.cmdline()) for one in node.children())]
    used[0].send_signal(signal.SIGKILL)
    output += process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    disturbed.assert_as_undisturbed(undisturbed)


def test_a_lost_node_shrinks_the_group_and_a_new_one_lets_it_grow(project, tmp_path, cluster):
    """A training without end, because nobody knows when Ray looks for nodes; its first epochs are compared."""
    sgd = {"kind": "sgd", "learning_rate": 0.01}
    project.change_train(num_workers=1, epochs=16, global_batch_size=4, optimizer=sgd)
    undisturbed = project.copy(tmp_path / "undisturbed")
    code, output = undisturbed.train()
    assert code == 0, output
    project.change_train(num_workers={"min": 1, "max": 2}, epochs=100_000)
    nodes = [cluster.add_node() for _ in range(2)]
    process, output = project.start_until("num_workers=2", **cluster.environment)
    output += read_until(process, "epoch ")
    nodes[0].send_signal(signal.SIGKILL)
    output += read_until(process, "num_workers=1")
    cluster.add_node()
    output += read_until(process, "num_workers=2")
    output += read_until(process, "epoch ")
    process.send_signal(signal.SIGINT)
    output += process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert_same_losses(project, undisturbed)


def assert_same_losses(project, undisturbed) -> None:
    """Each epoch once, and the losses of those that both have, after thousands of steps rounded in their own ways."""
    losses = []
    for one in (project, undisturbed):
        client, [run] = one.runs()
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [metric.step for metric in history] == list(range(1, len(history) + 1))
        losses.append([metric.value for metric in history])
    for left, right in zip(*losses, strict=False):
        assert left == pytest.approx(right, rel=1e-4)
