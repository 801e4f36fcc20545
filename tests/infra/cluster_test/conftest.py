"""A cluster of containers, trainings that its client starts, and the one that nothing happened to."""

import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from infra.cluster_test.cluster import Cluster, Node
from infra.cluster_test.docker import Docker, images_folder, missing, own_daemon
from infra.cluster_test.images import build

EPOCHS = 24
SETTINGS = {"epochs": EPOCHS, "global_batch_size": 8, "checkpoints": {"every_steps": 40}}
LAYERS = [{"kind": "dense", "units": 16, "activation": "relu"}, {"kind": "dropout", "rate": 0.3}]
# `headrace split` with shards of 32 KiB: eleven of training rows, for three nodes.
SPLIT = """
from pathlib import Path
from headrace.components.examples import shards
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.split import split

shards.SHARD_BYTES = 1 << 15
split(load_pipeline(Path("params.yaml"), "digits"), PipelinePaths(Path.cwd(), "digits"))
"""
IN_WINDOWS = {"window_examples": 256, "data_cache_bytes": 0}  # nodes read shares of the shards, and deal out rows
PATIENCE_SECONDS = 400.0  # of a wait for one thing or the next line, on a machine that has other work


class Command:
    """A command of the client that runs, and what it has printed."""

    def __init__(self, line: list[str]) -> None:
        self.output = ""
        self._process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str, *, seconds: float = PATIENCE_SECONDS) -> re.Match[str]:
        """The match in the first line from now on that has one."""
        deadline_seconds = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline_seconds - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {pattern!r} within {seconds:.0f} s in:\n{self.output}") from None
            assert line is not None, f"no {pattern!r} in:\n{self.output}"
            self.output += line
            if found := re.search(pattern, line):
                return found

    def wait(self) -> int:
        """Its exit code; on a busy machine it may take long, as long as it prints something."""
        while (line := self._next()) is not None:
            self.output += line
        return self._process.wait(30)

    def _next(self) -> str | None:
        try:
            return self._lines.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError(f"silent for {PATIENCE_SECONDS:.0f} s after:\n{self.output}") from None

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)


@dataclass
class Training:
    """A training of the digits in a project, storage and name of its own, which no other one joins."""

    cluster: Cluster
    name: str
    earlier_runs: set[str]
    commands: list[Command] = field(default_factory=list)

    @property
    def folder(self) -> str:
        return f"/home/headrace/{self.name}"

    def start(self) -> Command:
        given = {
            **self.cluster.environment,
            "HEADRACE_STORAGE": self.cluster.storage(self.name),
            "HEADRACE_OWNER": self.name,
        }
        command = self.cluster.nodes["client"].command(
            "headrace", "train", "digits", variables=given, folder=self.folder
        )
        self.commands.append(Command(command))
        return self.commands[-1]

    def start_until(self, epoch: int) -> Command:
        command = self.start()
        command.wait_for(rf"epoch {epoch}/{EPOCHS}")
        return command

    def assert_as_undisturbed(self, undisturbed: Path, folder: Path) -> None:
        """The same bits, and one new run in MLflow, FINISHED, that has each epoch once."""
        self.cluster.nodes["client"].get(f"{self.folder}/models/digits", folder)
        assert_same_weights(folder, undisturbed)
        client = mlflow_client(self.cluster)
        new = [run for run in mlflow_runs(client) if run.info.run_id not in self.earlier_runs]
        assert [run.info.status for run in new] == ["FINISHED"]
        for metric in ("loss", "validation_loss"):
            steps = [one.step for one in client.get_metric_history(new[0].info.run_id, metric)]
            assert steps == list(range(1, EPOCHS + 1)), metric


def assert_same_weights(one: Path, other: Path) -> None:
    """The same weights and figures of each epoch, bit for bit."""
    from headrace.components.training import checkpoints

    left, right = (checkpoints.load(folder / "checkpoint") for folder in (one, other))
    for mine, theirs in zip(left.weights, right.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(left.state.history, right.state.history, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def mlflow_client(cluster: Cluster) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=cluster.mlflow)


def mlflow_runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("headrace/digits")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


@pytest.fixture(scope="session")
def docker(repository: Path) -> Iterator[Docker]:
    if lacking := missing():
        pytest.skip(f"a cluster of containers needs {lacking}")
    with own_daemon(images_folder(repository)) as docker:
        build(docker, repository)
        yield docker


@pytest.fixture(scope="session")
def empty_cluster(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The network, and the client alone."""
    cluster = Cluster(docker, tmp_path_factory.mktemp("cluster") / "secrets")
    cluster.start_client()
    return cluster


@pytest.fixture(scope="session")
def prepared(empty_cluster: Cluster, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its splits, made in the client."""
    folder = tmp_path_factory.mktemp("project")
    section = yaml.safe_load((repository / "params.yaml").read_text())["digits"]
    section["train"] |= {**SETTINGS, "model": {"layers": LAYERS}}
    (folder / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["digits"], "digits": section}))
    client = empty_cluster.nodes["client"]
    client.put(folder, "/home/headrace/prepared")
    for stage in ("ingest", "normalize"):
        run(client, "headrace", stage, "digits", folder="/home/headrace/prepared")
    run(client, "python", "-c", SPLIT, folder="/home/headrace/prepared")
    made = tmp_path_factory.mktemp("prepared") / "project"
    client.get("/home/headrace/prepared", made)
    return made


@pytest.fixture(scope="session")
def undisturbed(empty_cluster: Cluster, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one machine trains, two workers of one thread each: the folder of the model."""
    return trained_here(empty_cluster, prepared, tmp_path_factory.mktemp("undisturbed") / "model")


@pytest.fixture(scope="session")
def prepared_in_windows(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project, whose splits no node of a cluster has whole."""
    folder = tmp_path_factory.mktemp("windows") / "project"
    shutil.copytree(prepared, folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["digits"]["train"] |= IN_WINDOWS
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@pytest.fixture(scope="session")
def undisturbed_in_windows(
    empty_cluster: Cluster, prepared_in_windows: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What one machine trains of it, which reads its own files."""
    return trained_here(empty_cluster, prepared_in_windows, tmp_path_factory.mktemp("undisturbed") / "model")


def trained_here(cluster: Cluster, project: Path, target: Path) -> Path:
    client, folder = cluster.nodes["client"], f"/home/headrace/undisturbed-{target.parent.name}"
    client.put(project, folder)
    run(client, "headrace", "train", "digits", folder=folder)
    client.get(f"{folder}/models/digits", target)
    return target


def run(client: Node, *arguments: str, folder: str) -> None:
    command = Command(client.command(*arguments, folder=folder))
    assert command.wait() == 0, command.output


@pytest.fixture(scope="session")
def running_cluster(empty_cluster: Cluster, undisturbed: Path) -> Cluster:
    """All of it: after the training on one machine, so that memory holds one thing at a time."""
    empty_cluster.start()
    return empty_cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """The cluster with three nodes that train, those that a test has lost replaced."""
    running_cluster.repair()
    return running_cluster


@pytest.fixture
def training(cluster: Cluster, prepared: Path, request: pytest.FixtureRequest) -> Iterator[Training]:
    yield from training_of(prepared, cluster, request.node.name)


@pytest.fixture
def training_in_windows(
    cluster: Cluster, prepared_in_windows: Path, request: pytest.FixtureRequest
) -> Iterator[Training]:
    yield from training_of(prepared_in_windows, cluster, request.node.name)


def training_of(project: Path, cluster: Cluster, test: str) -> Iterator[Training]:
    name = re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_")).strip("-")
    training = Training(cluster, name, {one.info.run_id for one in mlflow_runs(mlflow_client(cluster))})
    cluster.nodes["client"].put(project, training.folder)
    yield training
    for command in training.commands:
        command.end()


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Records seconds since a moment of `time.monotonic()`; they are printed at the end."""

    def seconds_since(what: str, since_seconds: float) -> None:
        record_property(f"{what}, seconds", round(time.monotonic() - since_seconds, 1))

    return seconds_since


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties if "cluster_test" in report.nodeid else ():
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {name}: {value}")
