"""The task that CONTRIBUTING.md adds, added to a copy of the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PARAMS = """
pipelines: [prices]
prices:
  description: prices, a few of which are far off
  ingest:
    source: {kind: inline, rows: [{x: 1.0, price: 2.0}, {x: 2.0, price: 3.0}]}
    features: {x: {type: number}}
    label: {type: robust_number, name: price, unit: EUR}
  normalize: {transforms: {x: []}, label: {kind: LABEL}}
  split: {held_out: none}
  train:
    model: {layers: []}
    optimizer: {kind: adam, learning_rate: 0.01}
    global_batch_size: 2
    epochs: 1
    best_by: loss
    num_workers: 1
  evaluate: {}
  register: {thresholds: {}, compare: {metric: mean_absolute_error}}
"""
USE = """
import sys
from pathlib import Path
import headrace
from headrace.pipelines.params import load_pipeline
from headrace.components.tasks.variants import task_of
from headrace.components.errors import ParamsError

assert Path(headrace.__file__).is_relative_to(Path.cwd()), headrace.__file__
try:
    pipeline = load_pipeline(Path("params.yaml"), "prices")
except ParamsError as error:
    sys.exit(str(error))
label = pipeline.ingest.label
task = task_of(label)
print(type(task).__name__, type(label).model_validate_json(label.model_dump_json()) == label, task.unit)
print(*task.metric_names)
print(type(task.loss(label_smoothing=0.0)).__name__, *label.columns)
"""


@pytest.fixture
def patched(repository: Path, tmp_path: Path) -> Path:
    """A copy of the code with the diff of the page."""
    [diff] = re.findall(
        r"^## Add a task\n.*?^```diff\n(.*?)^```", (repository / "CONTRIBUTING.md").read_text(), re.M | re.S
    )
    for folder in ("headrace", "components", "pipelines"):
        shutil.copytree(repository / folder, tmp_path / folder, symlinks=True)
    applied = subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=diff, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, applied.stderr
    return tmp_path


def use(project: Path, *, transform: str) -> subprocess.CompletedProcess[str]:
    (project / "params.yaml").write_text(PARAMS.replace("LABEL", transform))
    environment = {**os.environ, "PYTHONPATH": str(project)}
    command = [sys.executable, "-W", "ignore", "-c", USE]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_the_task_of_the_page_is_one_file_and_its_label(patched: Path) -> None:
    ended = use(patched, transform="standardize")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "RobustNumber True EUR",
        "loss root_mean_squared_error mean_absolute_error r2",
        "Huber price",
    ]
    assert "take standardize" in use(patched, transform="min_max").stderr


def test_the_code_of_the_page_is_formatted_as_all_other(patched: Path, repository: Path) -> None:
    files = ["components/tasks/robust_regression.py", "components/tasks/variants.py", "components/schema/labels.py"]
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        ruff = [str(Path(sys.executable).with_name("ruff")), *command, "--config", str(repository / "pyproject.toml")]
        ended = subprocess.run([*ruff, *files], cwd=patched, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout
