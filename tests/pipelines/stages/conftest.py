"""A small project to train in, by real processes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths

# Of a second each: what a test does when it has read of the second epoch happens before the last one ends.
SIX_EPOCHS = {"epochs": 6, "global_batch_size": 16}


@dataclass(frozen=True)
class Project:
    """The digits, ingested, normalized and split, below `root`."""

    root: Path

    @property
    def paths(self) -> PipelinePaths:
        return PipelinePaths(self.root, "digits")

    @property
    def job(self) -> Path:
        """The folder of the one training that is not done yet."""
        [folder] = (self.root / ".headrace" / "ray").iterdir()
        return folder

    def copy(self, root: Path) -> "Project":
        shutil.copytree(self.root, root, symlinks=True)
        return Project(root)

    def change_train(self, **changes: Any) -> None:
        params = yaml.safe_load((self.root / "params.yaml").read_text(encoding="utf-8"))
        params["digits"]["train"] |= changes
        (self.root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "headrace", *(arguments or ("train", "digits"))],
            cwd=self.root,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "HOME": str(self.root), "MLFLOW_TRACKING_URI": "", **environment},
            start_new_session=True,
        )

    def train(self, *options: str, **environment: str) -> tuple[int, str]:
        process = self.start("train", "digits", *options, **environment)
        output = process.communicate(timeout=240)[0]
        return process.returncode, output

    def start_until(self, text: str, **settings: Any) -> tuple[subprocess.Popen, str]:
        """Start a training, and come back when its output has `text`."""
        process, output = self.start(**settings), ""
        for line in process.stdout:
            output += line
            if text in line:
                return process, output
        raise AssertionError(f"no {text!r} in: {output}")

    def runs(self) -> tuple[Any, list]:
        from headrace.pipelines.tracking.server import connect

        client = connect(self.root)
        experiment = client.get_experiment_by_name("headrace/digits")
        return client, client.search_runs([experiment.experiment_id])

    def assert_as_undisturbed(self, undisturbed: "Project", *, tolerance: float = 1e-6) -> None:
        """The same weights and metrics, each epoch once in one MLflow run, which is FINISHED."""
        from headrace.components.training import checkpoints

        one, other = (checkpoints.load(project.paths.checkpoint) for project in (self, undisturbed))
        for left, right in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)
        for left, right in zip(one.state.history, other.state.history, strict=True):
            for name in left.keys() - {"seconds"}:
                np.testing.assert_allclose(left[name], right[name], rtol=tolerance, atol=tolerance, err_msg=name)
        client, found = self.runs()
        assert [run.info.status for run in found] == ["FINISHED"]
        steps = [metric.step for metric in client.get_metric_history(found[0].info.run_id, "loss")]
        assert steps == list(range(1, one.state.epoch + 1))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, repository) -> Project:
    from headrace.pipelines.stages.ingest import ingest
    from headrace.pipelines.stages.normalize import normalize
    from headrace.pipelines.stages.split import split

    root = tmp_path_factory.mktemp("prepared")
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    layers = [{"kind": "dense", "units": 16, "activation": "relu"}, {"kind": "dropout", "rate": 0.3}]
    params["digits"]["train"] |= {"epochs": 2, "model": {"layers": layers}}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    pipeline, paths = load_pipeline(root / "params.yaml", "digits"), PipelinePaths(root, "digits")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    return Project(root)


@pytest.fixture
def project(tmp_path, prepared) -> Project:
    """A project in a folder whose path has a space."""
    return prepared.copy(tmp_path / "a project")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, prepared) -> Project:
    """Six epochs that nothing happened to."""
    project = prepared.copy(tmp_path_factory.mktemp("undisturbed") / "a project")
    project.change_train(**SIX_EPOCHS)
    code, output = project.train()
    assert code == 0, output
    return project


@pytest.fixture
def disturbed(tmp_path, prepared) -> Project:
    """A project for the six epochs of `undisturbed`, not yet trained."""
    project = prepared.copy(tmp_path / "a project")
    project.change_train(**SIX_EPOCHS)
    return project


class RayNodes:
    """Nodes of one Ray cluster with token authentication, each a `ray start` of its own."""

    TOKEN = "0" * 64

    def __init__(self, home: Path) -> None:
        self.temporary = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie below it
        self._processes: list[subprocess.Popen] = []
        programs = Path(sys.executable).parent
        self._environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.TOKEN}
        self._environment |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        self._environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def start(self, *options: str) -> psutil.Process:
        """Start a node; return its raylet."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address=127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--object-store-memory=100000000", *options],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        deadline_seconds = time.monotonic() + 60
        while time.monotonic() < deadline_seconds:
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.name() == "raylet":
                    return child
            time.sleep(0.2)
        raise AssertionError("no raylet within 60 s")

    def stop(self) -> None:
        for process in reversed(self._processes):
            for one in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                one.kill()
            process.kill()
            process.wait(30)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_nodes(tmp_path_factory) -> Iterator[Callable[[], RayNodes]]:
    """Makes clusters, which are stopped with the module at the latest."""
    made = []

    def make() -> RayNodes:
        made.append(RayNodes(tmp_path_factory.mktemp("home")))
        return made[-1]

    yield make
    for nodes in made:
        nodes.stop()
