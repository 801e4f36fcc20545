"""A small project to train in, by real processes."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths

# Of a second each: what a test does when it has read of the second epoch happens before the last one ends.
SIX_EPOCHS = {"epochs": 6, "global_batch_size": 4}


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
        process = self.start(**settings)
        return process, self.read_until(process, text)

    def read_until(self, process: subprocess.Popen, *texts: str) -> str:
        """The output of a process up to a line with the last of `texts`, each of which comes after the one before."""
        output, awaited = "", list(texts)
        for line in process.stdout:
            output += line
            if awaited[0] in line:
                awaited.pop(0)
            if not awaited:
                return output
        raise AssertionError(f"no {awaited[0]!r} in: {output}")

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


@pytest.fixture(scope="session", params=["layers", pytest.param("own", marks=pytest.mark.long)])
def six_epochs(request, tmp_path_factory, prepared) -> Project:
    """A project for six epochs, not yet trained: of the layers of `prepared`, or of the model of `own_network.py`."""
    project = prepared.copy(tmp_path_factory.mktemp("six-epochs") / "a project")
    project.change_train(**SIX_EPOCHS)
    if request.param == "own":
        (project.root / "models").mkdir()
        shutil.copy(Path(__file__).with_name("own_network.py"), project.root / "models" / "network.py")
        project.change_train(model={"file": "models/network.py", "loss": "build_loss", "metrics": "build_metrics"})
    return project


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, six_epochs) -> Project:
    """Six epochs that nothing happened to."""
    project = six_epochs.copy(tmp_path_factory.mktemp("undisturbed") / "a project")
    code, output = project.train()
    assert code == 0, output
    return project


@pytest.fixture
def disturbed(tmp_path, six_epochs) -> Project:
    """A project for the six epochs of `undisturbed`, not yet trained."""
    return six_epochs.copy(tmp_path / "a project")
