"""Training on a Ray cluster of several nodes, each a raylet of its own, some of which are lost and come back."""

import re
import signal
import subprocess

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]


class Cluster:
    """A head without cores, and nodes of one core each."""

    def __init__(self, nodes, port: int) -> None:
        self._nodes, self.address = nodes, f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        nodes.start(*head, f"--temp-dir={nodes.temporary}")

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._nodes.TOKEN}

    def add_node(self) -> psutil.Process:
        """Start a node and return its raylet."""
        return self._nodes.start(f"--address={self.address}", "--num-cpus=1")


@pytest.fixture
def cluster(ray_nodes, free_ports):
    nodes = ray_nodes()
    yield Cluster(nodes, *free_ports(1))
    nodes.stop()


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
