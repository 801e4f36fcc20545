"""A project that trains a line through points within seconds, in real git, with a real DVC remote and MLflow store."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

PARAMS: dict[str, Any] = {
    "description": "A line through points",
    "ingest": {
        "source": {
            "kind": "delimited",
            "dataset": "line",
            "parts": [{"files": [{"name": "points.csv", "url": "points.csv"}]}],
        },
        "key": ["id"],
        "features": {"x": {"type": "number"}},
        "label": {"type": "number", "name": "y"},
    },
    "normalize": {"transforms": {"x": [{"kind": "standardize"}]}, "label": {"kind": "standardize"}},
    "split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.3},
    "train": {
        "model": {"layers": []},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "global_batch_size": 16,
        "epochs": 2,
        "best_by": "validation_loss",
        "seed": 1,
        "num_workers": 1,
        "threads_per_worker": 1,
    },
    "evaluate": {"worst_examples": 3},
    "register": {"thresholds": {}, "compare": {"metric": "loss", "when_unsure": "newer"}},
}
IGNORED = (
    "/.headrace/\n/data/\n/models/*/\n/mlflow.db*\n/mlartifacts/\n/reports/*/re*.html\n/reports/*/registration.json\n"
)


@dataclass(frozen=True)
class LineProject:
    """A project of one pipeline, `line`; its HOME is its parent."""

    root: Path

    @classmethod
    def make(cls, root: Path, repository: Path) -> "LineProject":
        root.mkdir()
        points = "".join(f"{number},{number},{2 * number + 7 * number % 11}\n" for number in range(200))
        (root / "points.csv").write_text("id,x,y\n" + points)
        (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["line"], "line": PARAMS}, sort_keys=False))
        for name in ("dvc.yaml", "headrace.lock"):
            shutil.copy(repository / name, root)
        (root / ".gitignore").write_text(IGNORED)
        made = cls(root)
        made.git("init", "--quiet", "--initial-branch=main")
        made.git("config", "user.name", "Ann")
        made.git("config", "user.email", "ann@example.org")
        made.git("remote", "add", "origin", "https://ann:pw@git.example.org/line.git")
        (root / ".dvc").mkdir()  # as `dvc init` does, in no time
        for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
            shutil.copy(repository / name, root / name)
        config = root / ".dvc" / "config"
        config.write_text(config.read_text().replace("url = ../.headrace/remote", "url = ../../remote"))
        made.commit("Begin")
        return made

    def read_by_the_day(self, landing: Path, **section: Any) -> None:
        """Let the pipeline read a landing folder of two days; `section` is what its section has besides."""
        for day in (20, 21):
            rows = "".join(f"{day * 1000 + n},{n},{2 * n + 7 * n % 11}\n" for n in range(day * 5, day * 5 + 120))
            (landing / f"date=2026-11-{day}").mkdir(parents=True)
            (landing / f"date=2026-11-{day}" / "points.csv").write_text("id,x,y\n" + rows)
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        source = {"kind": "delimited", "dataset": "line", "partitions": {"root": str(landing)}}
        params["line"]["ingest"]["source"] = source
        params["line"] |= section
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        self.commit("Partitions")

    def git(self, *arguments: str) -> str:
        return self._run(["git", *arguments])

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def program(self, name: str, *arguments: str | Path, code: int = 0, **environment: str) -> str:
        return self._run([str(Path(sys.executable).with_name(name)), *map(str, arguments)], code=code, **environment)

    def headrace(self, *arguments: str | Path, code: int = 0, **environment: str) -> str:
        return self.program("headrace", *arguments, code=code, **environment)

    def _run(self, command: list[str], *, code: int = 0, **environment: str) -> str:
        ended = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, "HOME": str(self.root.parent), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == code, ended.stdout
        return ended.stdout

    def copy(self, root: Path) -> "LineProject":
        """A copy with a store, artifacts and a cache of its own."""
        from headrace.pipelines.tracking.server import connect

        shutil.copytree(self.root, root, symlinks=True)
        connect(root)  # which says once that the store was copied
        return LineProject(root)

    def change(self, **train: Any) -> None:
        """Other settings of `train` in params.yaml, not committed."""
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params["line"]["train"] |= train
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="session")
def line_project(repository: Path) -> Callable[[Path], LineProject]:
    """Makes a project in which nothing has run."""
    return lambda root: LineProject.make(root, repository)


@pytest.fixture
def empty_project(tmp_path: Path, repository: Path) -> LineProject:
    """A project in which nothing has run."""
    return LineProject.make(tmp_path / "a project", repository)


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> LineProject:
    """A project whose model is registered; not to be changed."""
    project = LineProject.make(tmp_path_factory.mktemp("trained") / "a project", repository)
    project.headrace("run", "line")
    return project
