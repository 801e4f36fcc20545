"""What a node finds out about itself, without a cluster around it."""

import importlib.metadata
import platform
import socket

import pytest

from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.ray_cluster import node_check
from headrace.pipelines.ray_cluster.node_check import NodeCheck, Wanted, differing_versions


@pytest.fixture
def node(monkeypatch) -> NodeCheck:
    """A node of one machine, with the token that every node should ask for."""
    monkeypatch.setattr(node_check, "_address", lambda: "127.0.0.1")
    monkeypatch.delenv("HEADRACE_PORTS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HEADRACE_REVISION", "abc1234")
    return NodeCheck()


@pytest.fixture
def mlflow(web_server):
    """The address of a server that is well."""
    with web_server(lambda request: (200 if request.path == "/health" else 404, b"")) as address:
        yield address


def wanted(**changes) -> Wanted:
    return Wanted.model_validate(
        {"versions": {}, "storage": None, "storage_key": "doctor/1", "mlflow": None, **changes}
    )


def test_nodes_reach_each_other_where_they_listen(node, monkeypatch):
    other = NodeCheck()
    assert node.unreachable([other.listen()]) == {}
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = ("127.0.0.1", closed.getsockname()[1])
    [(address, reason)] = node.unreachable([place]).items()
    assert address == f"127.0.0.1:{place[1]}"
    assert "refused" in reason


def test_a_node_listens_at_the_ports_of_trainings(node, monkeypatch, free_ports):
    [port] = free_ports(1)
    monkeypatch.setenv("HEADRACE_PORTS", f"{port}-{port}")
    assert node.listen() == ("127.0.0.1", port)


def test_versions_that_differ_are_named():
    python = ".".join(platform.python_version_tuple()[:2])
    here = importlib.metadata.version("pydantic")
    versions = {"python": python, "pydantic": here, "numpy": "0.1", "no-such-package": "1"}
    assert differing_versions(versions) == {
        "numpy": ("0.1", importlib.metadata.version("numpy")),
        "no-such-package": ("1", "not installed"),
    }
    assert differing_versions({"python": "3.1"}) == {"python": ("3.1", platform.python_version())}


def test_a_whole_node_has_nothing_to_say(node, tmp_path, mlflow):
    open_storage(str(tmp_path)).create("doctor/1", b"")
    report = node.report(wanted(storage=str(tmp_path), mlflow=mlflow), gpus=0)
    assert (report.revision, report.storage, report.mlflow, report.token) == ("abc1234", "", "", "")
    assert report.gpus_of_tensorflow is None
    assert report.free_bytes > 0
    assert len(open_storage(str(tmp_path)).keys("doctor/1")) == 2  # it has written one of its own


def test_a_storage_that_is_another_place_on_this_node_is_noticed(node, tmp_path):
    report = node.report(wanted(storage=str(tmp_path)), gpus=0)
    assert "it is another place here" in report.storage


def test_a_server_that_is_away_or_refuses_is_noticed(node, mlflow, free_ports):
    [port] = free_ports(1)
    assert "refused" in node.report(wanted(mlflow=f"http://127.0.0.1:{port}"), gpus=0).mlflow
    assert "answers 404" in node.report(wanted(mlflow=f"{mlflow}/elsewhere"), gpus=0).mlflow
    assert "only one machine has" in node.report(wanted(mlflow="sqlite:///mlflow.db"), gpus=0).mlflow


def test_a_node_without_a_token_is_noticed(node, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert "RAY_AUTH_MODE" in node.report(wanted(), gpus=0).token
