"""One table of all nodes of a cluster, and what is wrong with each, with its fix."""

import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.redaction import redacted
from headrace.pipelines.commands.diagnosis.checks import ENOUGH_DISK_BYTES, PAGE_OF_CLUSTERS, Finding, State
from headrace.pipelines.headrace_lock import wanted as wanted_versions
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.remote_training.handoff import storage_address

if TYPE_CHECKING:
    from headrace.pipelines.ray_cluster.node_check import NodeReport

COLUMNS = ("node", "image", "versions", "GPUs", "free disk", "storage", "MLflow", "nodes reached", "clock", "token")
AHEAD_SECONDS = 5.0  # S3 refuses requests 15 minutes off; logs and time limits are confusing long before


def cluster_findings(project: ProjectPaths, *, disk_bytes: int) -> tuple[list[tuple[str, ...]], list[Finding]]:
    """Rows of the table, by COLUMNS, and findings of every node of the cluster at RAY_ADDRESS.

    Raises ParamsError without such a cluster, ServiceError where it is away.
    """
    from headrace.pipelines.ray_cluster.connect import ray_session
    from headrace.pipelines.ray_cluster.node_check import Wanted
    from headrace.pipelines.ray_cluster.survey import survey

    if not os.environ.get("RAY_ADDRESS"):
        raise ParamsError(
            "doctor --cluster: RAY_ADDRESS is not set, so Ray would start on this machine alone; set it to the "
            "cluster's job server (https://host:8265), or to host:6379 on one of its nodes"
        )
    address, problem = _storage(project)
    key = f"doctor/{uuid.uuid4().hex}"
    versions = wanted_versions(project.root, "train")
    try:
        if address is not None:
            open_storage(address).create(key, b"")
        wanted = Wanted(
            versions=versions, storage=address, storage_key=key, mlflow=os.environ.get("MLFLOW_TRACKING_URI")
        )
        with ray_session(num_workers=0):
            reports = survey(wanted)
    finally:
        if address is not None:
            _remove(address, key)
    found = [finding for report in reports for finding in node_findings(report, disk_bytes=disk_bytes)]
    found += [Finding("wrong", f"storage: {problem}", "as it says")] if problem else []
    if wanted.mlflow is None:
        what = "MLFLOW_TRACKING_URI is not set: a job that trains needs a server that its nodes reach"
        found.append(Finding("warn", what, "set it to that server's address"))
    return [row(report) for report in reports], [*same_image(reports), *found]


def largest_split_bytes(project: ProjectPaths) -> int:
    """Size of the largest split of this project's pipelines in bytes, 0 where there is none yet."""
    folders = (project.root / "data").glob("*/splits")
    return max((_size(folder) for folder in folders), default=0)


def enough_disk_bytes(project: ProjectPaths) -> int:
    """The disk that a node should have free: twice the largest split, for inputs and checkpoints, and some more."""
    return 2 * largest_split_bytes(project) + ENOUGH_DISK_BYTES


def row(report: "NodeReport") -> tuple[str, ...]:
    """A node's line of the table."""
    if report.silent:
        return (report.node, *["?"] * (len(COLUMNS) - 1))
    return (
        report.node,
        report.revision or "-",
        _state("; ".join(report.differing)),
        "-" if report.gpus_of_tensorflow is None else f"{report.gpus_of_tensorflow} of {report.gpus}",
        f"{report.free_bytes / 2**30:.1f} GiB",
        _state(report.storage),
        _state(report.mlflow),
        f"{report.others - len(report.unreachable)} of {report.others}",
        f"{report.clock_seconds:+.2f} s",
        _state(report.token),
    )


def node_findings(report: "NodeReport", *, disk_bytes: int) -> Iterator[Finding]:
    """What is wrong with a node, and how to fix it; one line where nothing is."""
    problems = [Finding(state, f"{report.node}: {what}", fix) for state, what, fix in _problems(report, disk_bytes)]
    yield from problems or [Finding("ok", f"{report.node} can train")]


def _problems(report: "NodeReport", disk_bytes: int) -> Iterator[tuple[State, str, str]]:
    if report.silent:
        yield "wrong", report.silent, "look into the logs of its Ray (session_latest/logs), or remove the node"
        return
    if report.differing:
        said = ", ".join(f"{name} {found} instead of {wanted}" for name, (wanted, found) in report.differing.items())
        yield "wrong", f"it has {said}", "start the same image on all nodes, or install what requirements.lock says"
    if report.gpus_of_tensorflow is not None and report.gpus_of_tensorflow < report.gpus:
        what = f"Ray counts {report.gpus} GPUs, TensorFlow finds {report.gpus_of_tensorflow}"
        yield "wrong", what, "run the image headrace-gpu with NVIDIA's container runtime, or fix the driver"
    if report.free_bytes < disk_bytes:
        what = f"{report.free_bytes / 2**30:.1f} GiB of disk free, expected {disk_bytes / 2**30:.1f}"
        yield "warn", what, "give it a larger volume for /tmp, or set TMPDIR to one"
    if report.storage:
        yield "wrong", f"storage: {report.storage}", "set HEADRACE_STORAGE to a place that all nodes reach, and keys"
    if report.mlflow:
        yield "wrong", f"MLflow: {report.mlflow}", "set MLFLOW_TRACKING_URI to a name that the nodes know"
    for place, reason in report.unreachable.items():
        yield (
            "wrong",
            f"no connection to {place}: {reason}",
            f"allow HEADRACE_PORTS among the nodes; {PAGE_OF_CLUSTERS}",
        )
    if abs(report.clock_seconds) > AHEAD_SECONDS:
        yield "wrong", f"its clock is {report.clock_seconds:+.0f} s off", "timedatectl set-ntp true"
    if report.token:
        yield "wrong", report.token, "set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN on every node"


def same_image(reports: Sequence["NodeReport"]) -> Iterator[Finding]:
    """Whether all nodes run images of one commit."""
    revisions = {report.revision for report in reports if not report.silent}
    if len(revisions) > 1:
        said = ", ".join(sorted(revision or "no image" for revision in revisions))
        yield Finding("warn", f"nodes run different images: {said}", "deploy one tag on all of them")


def _storage(project: ProjectPaths) -> tuple[str | None, str]:
    """Address of the storage, or why there is none."""
    try:
        return storage_address(project.root), ""
    except (ParamsError, ServiceError) as error:
        return None, redacted(str(error))


def _remove(address: str, key: str) -> None:
    """Remove what this process and the nodes have written."""
    try:
        storage = open_storage(address)
        for one in storage.keys("doctor/"):
            if one.startswith(key):
                storage.remove(one)
    except ServiceError:
        return  # the nodes' reports say so


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _state(problem: str | None) -> str:
    return "-" if problem is None else "wrong" if problem else "ok"
