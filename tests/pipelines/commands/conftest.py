"""A project with real DVC whose stages are small shell commands: what `headrace run` drives."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

INGEST = "echo 'got 3 examples' && mkdir -p data/digits/examples && echo 1 > data/digits/examples/part"
TRAIN = "echo 'epoch 1/1' && mkdir -p models/digits && cp data/digits/examples/part models/digits/model.keras"
REGISTER = (
    "mkdir -p reports/digits && cp models/digits/model.keras reports/digits/registered"
    """ && printf '{"accuracy": 0.9712}' > reports/digits/metrics.json"""
)


class SmallProject:
    """A folder with params.yaml, dvc.yaml, git and DVC; the path has a space in it."""

    def __init__(self, root: Path, params: Path) -> None:
        self.root = root
        digits = yaml.safe_load(params.read_text())["digits"]
        root.mkdir()
        (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["digits"], "digits": digits}))
        self.write_stages()
        subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True)
        subprocess.run([Path(sys.executable).with_name("dvc"), "init", "--quiet"], cwd=root, check=True)

    def write_stages(self, *, train: str = TRAIN) -> None:
        examples, model, registered = "data/digits/examples", "models/digits/model.keras", "reports/digits/registered"
        stages = {
            "ingest": {"cmd": INGEST, "outs": [examples]},
            "train": {"cmd": train, "deps": [examples], "outs": [model]},
            "register": {"cmd": REGISTER, "deps": [model], "outs": [registered]},
        }
        content = {"stages": {name: {"matrix": {"pipeline": ["digits"]}, **stage} for name, stage in stages.items()}}
        (self.root / "dvc.yaml").write_text(yaml.safe_dump(content))

    def headrace(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "headrace", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output_of(self, *arguments: str, code: int = 0) -> str:
        process = self.headrace(*arguments)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == code, output
        return output


@pytest.fixture(scope="module")
def finished_project(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A project that has run once. Copy it before a change."""
    project = SmallProject(tmp_path_factory.mktemp("project") / "a project", repository / "params.yaml")
    project.output_of("run", "digits")
    return project


@pytest.fixture
def project(finished_project: SmallProject, tmp_path: Path) -> SmallProject:
    """A copy of the finished project, free to change."""
    copy = object.__new__(SmallProject)
    copy.root = tmp_path / "a copy"
    shutil.copytree(finished_project.root, copy.root, symlinks=True)
    return copy
