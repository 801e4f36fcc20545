"""`headrace doctor --cluster` on real nodes: from one of them, and from another machine as a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]


class SmallCluster:
    """A head without cores and a node, with a job server."""

    def __init__(self, nodes, ports: list[int]) -> None:
        port, dashboard, agent, client = ports
        self.address, self.job_server = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        self.token, self.temporary = nodes.TOKEN, nodes.temporary
        head = ["--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={nodes.temporary}"]
        head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        nodes.start(*head, f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}")
        self.node = nodes.start(f"--address={self.address}", "--num-cpus=1")


@pytest.fixture(scope="module")
def cluster(ray_nodes, free_ports):
    return SmallCluster(ray_nodes(), free_ports(4))


@pytest.fixture
def doctor(cluster, tmp_path, repository):
    """Run it in a project, with the cluster at an address; exit code and output."""
    root = tmp_path / "a project"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (root / name).write_bytes((repository / name).read_bytes())
    subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True)

    def run(address: str, *options: str, **environment: str) -> tuple[int, str]:
        own = {"HOME": str(tmp_path), "RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token}
        own |= {
            "HEADRACE_STORAGE": str(tmp_path / "storage"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "headrace", "doctor", "--cluster", *options],
            cwd=root,
            env={**os.environ, **own, **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    return run


@pytest.mark.parametrize("place", ["address", "job_server"])
def test_every_node_is_in_the_table_and_can_train(cluster, doctor, tmp_path, place):
    code, output = doctor(getattr(cluster, place), "--disk-bytes", "0")
    assert code == 0, output
    assert "nodes reached" in output
    assert output.count("1 of 1") == 2, output
    assert output.count("can train") == 2, output
    assert list((tmp_path / "storage").rglob("*/*")) == []  # what was written there is removed


@pytest.mark.parametrize("place", ["address", "job_server"])
def test_what_is_wrong_with_the_nodes_is_said_with_its_fix_and_ends_with_1(cluster, doctor, free_ports, place):
    [closed] = free_ports(1)
    code, output = doctor(getattr(cluster, place), MLFLOW_TRACKING_URI=f"http://127.0.0.1:{closed}")
    assert code == 1, output
    assert output.count("MLflow: ") == 2
    assert "fix: set MLFLOW_TRACKING_URI to a name that the nodes know" in output


def test_a_cluster_that_is_away_is_one_line(doctor, free_ports):
    [closed] = free_ports(1)
    code, output = doctor(f"http://127.0.0.1:{closed}")
    assert code == 75, output
    assert "can't reach Ray's job server" in output
