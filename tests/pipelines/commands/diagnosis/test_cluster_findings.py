"""What is said of each node of a cluster, from what the nodes report."""

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.diagnosis.checks import ENOUGH_DISK_BYTES
from headrace.pipelines.commands.diagnosis.cluster_findings import (
    COLUMNS,
    cluster_findings,
    enough_disk_bytes,
    node_findings,
    row,
    same_image,
)
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.ray_cluster.node_check import NodeReport

GOOD = NodeReport(
    node="worker-1",
    gpus=1,
    revision="abc1234",
    gpus_of_tensorflow=1,
    free_bytes=80 * 2**30,
    storage="",
    mlflow="",
    others=3,
)


def said(report: NodeReport) -> list[tuple[str, str, str]]:
    return [(one.state, one.what, one.fix) for one in node_findings(report, disk_bytes=10 * 2**30)]


def test_a_node_without_a_problem_is_one_line():
    assert said(GOOD) == [("ok", "worker-1 can train", "")]
    assert row(GOOD) == ("worker-1", "abc1234", "ok", "1 of 1", "80.0 GiB", "ok", "ok", "3 of 3", "+0.00 s", "ok")


@pytest.mark.parametrize(
    ("changes", "state", "what", "fix"),
    [
        ({"silent": "no answer in time"}, "wrong", "no answer in time", "logs"),
        (
            {"differing": {"keras": ("3.15.1", "3.14.0"), "ray": ("2.60.0", "not installed")}},
            "wrong",
            "keras 3.14.0 instead of 3.15.1, ray not installed instead of 2.60.0",
            "same image",
        ),
        ({"gpus_of_tensorflow": 0}, "wrong", "Ray counts 1 GPUs, TensorFlow finds 0", "headrace-gpu"),
        ({"free_bytes": 2**30}, "warn", "1.0 GiB of disk free, expected 10.0", "/tmp"),
        ({"storage": "no such bucket"}, "wrong", "storage: no such bucket", "HEADRACE_STORAGE"),
        ({"mlflow": "Connection refused"}, "wrong", "MLflow: Connection refused", "MLFLOW_TRACKING_URI"),
        ({"unreachable": {"10.0.0.2:20100": "timed out"}}, "wrong", "10.0.0.2:20100: timed out", "HEADRACE_PORTS"),
        ({"clock_seconds": -60.0}, "wrong", "its clock is -60 s off", "timedatectl"),
        ({"token": "RAY_AUTH_MODE is not token"}, "wrong", "RAY_AUTH_MODE is not token", "RAY_AUTH_TOKEN"),
    ],
)
def test_each_problem_is_named_with_its_node_and_its_fix(changes, state, what, fix):
    report = GOOD.model_copy(update=changes)
    [(found, text, remedy)] = said(report)
    assert found == state
    assert text.startswith("worker-1: ")
    assert what in text
    assert fix in remedy
    assert len(row(report)) == len(COLUMNS)


def test_a_node_of_which_nothing_is_known_has_no_ok_in_its_row():
    assert set(row(GOOD.model_copy(update={"silent": "lost"}))[1:]) == {"?"}


def test_a_node_without_gpus_needs_none():
    report = GOOD.model_copy(update={"gpus": 0, "gpus_of_tensorflow": None})
    assert row(report)[3] == "-"
    assert said(report)[0][0] == "ok"


def test_what_was_not_asked_is_no_ok():
    assert row(GOOD.model_copy(update={"storage": None, "mlflow": None}))[5:7] == ("-", "-")


def test_different_images_are_named():
    assert list(same_image([GOOD, GOOD])) == []
    [finding] = same_image([GOOD, GOOD.model_copy(update={"revision": ""})])
    assert "abc1234, no image" in finding.what


def test_a_node_needs_twice_the_largest_split(tmp_path):
    assert enough_disk_bytes(ProjectPaths(tmp_path)) == ENOUGH_DISK_BYTES
    for name, size in (("small", 10), ("large", 1000)):
        (tmp_path / "data" / name / "splits" / "train").mkdir(parents=True)
        (tmp_path / "data" / name / "splits" / "train" / "part-0.parquet").write_bytes(bytes(size))
    assert enough_disk_bytes(ProjectPaths(tmp_path)) == ENOUGH_DISK_BYTES + 2000


def test_without_a_cluster_it_is_said_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ParamsError, match="RAY_ADDRESS is not set"):
        cluster_findings(ProjectPaths(tmp_path), disk_bytes=0)
