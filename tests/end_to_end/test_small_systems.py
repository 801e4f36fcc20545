"""The small numeric pipelines, each on one worker and cut short, all in one process: they do learn what they are to."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# What of params.yaml is cut short, and by how much; what the others are has no cut.
CUTS = {
    "linear": {},
    "study_hours": {"train.steps_per_epoch": 1000},
    "study_hours_two": {"train.steps_per_epoch": 1000},
    "sine": {"train.epochs": 2},
    "polynomial": {"train.epochs": 2},
    "titanic_logistic": {"train.steps_per_epoch": 100},
    "titanic": {"train.epochs": 20},
    "takeoff": {"train.epochs": 6},
    "mnist_softmax": {"train.steps_per_epoch": 100, "train.epochs": 1},
    "mnist_fast": {"train.steps_per_epoch": 60, "train.epochs": 1},
}
WITHOUT_FILES = ("linear", "study_hours", "study_hours_two", "sine", "polynomial")

RUN = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
from headrace.components.training.feeding.columns import Columns, load_split
from headrace.components.training.loop import Worker, train_worker
from headrace.components.training.observer import Observer
from headrace.components.training.restored import restored_model
from headrace.components.transforms.fitted import FittedTable
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.evaluate import answers, measured, outcome_of
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split
from headrace.pipelines.storage.edit_params import with_values

found = {}
for name, values in json.loads(sys.argv[2]).items():
    pipeline = with_values(load_pipeline(Path(sys.argv[1]), name), values)
    paths = PipelinePaths(Path.cwd(), name)
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    names = ["train", *(name for name in pipeline.split.names_held_out if name == "validation")]
    train, *validation = (Columns(*load_split(paths.splits / part, fitted=fitted)) for part in names)
    final = train_worker(
        train, validation[0] if validation else None, label=fitted.label, training=pipeline.train,
        worker=Worker(0, 1), folder=Path.cwd() / "checkpoints" / name, observer=Observer(),
    )
    model, _ = restored_model(
        final.best_weights, model=pipeline.train.model, fitted=fitted, statistics=paths.statistics
    )
    metrics = outcome_of(measured(pipeline, paths), model, pipeline, paths).metrics
    found[name] = {**final.state.history[-1], **metrics, **answers(model, pipeline), "steps": final.state.step}
Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(repository, tmp_path_factory) -> dict[str, dict[str, float]]:
    """The figures of each pipeline; without the data sets, of those that need none."""
    root = tmp_path_factory.mktemp("small")
    mirror = repository.parent / "shared" / "data"
    cuts = CUTS if mirror.is_dir() else {name: CUTS[name] for name in WITHOUT_FILES}
    environment = {**os.environ, "PYTHONPATH": str(repository), "HEADRACE_MIRROR": str(mirror)}
    command = [sys.executable, "-c", RUN, repository / "params.yaml", json.dumps(cuts)]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads((root / "found.json").read_text())


def test_a_line_through_four_points_is_the_least_squares_line(found):
    line = found["linear"]
    assert line["steps"] == 2000
    assert abs(line["at_0"] - 3.5) < 0.01
    assert abs(line["at_1"] - line["at_0"] - 1.4) < 0.01
    assert abs(line["loss"] - 1.05) < 0.001


def test_marks_follow_hours(found):
    assert abs(found["study_hours"]["at_8_hours"] - 82) < 0.3
    assert abs(found["study_hours_two"]["at_8_hours_each"] - 161) < 0.3


def test_nothing_held_out_leaves_no_validation_figure(found):
    assert [name for name in found["linear"] if name.startswith("validation_")] == []
    assert "validation_loss" in found["sine"]


def test_curves_come_nearer_to_their_functions(found):
    assert found["sine"]["root_mean_squared_error"] < 0.4
    assert found["polynomial"]["root_mean_squared_error"] < 0.2


@pytest.mark.parametrize(
    ("pipeline", "metric", "bound"),
    [
        ("titanic_logistic", "accuracy", 0.77),
        ("titanic", "accuracy", 0.76),
        ("takeoff", "root_mean_squared_error", -60),
        ("mnist_softmax", "accuracy", 0.8),
        ("mnist_fast", "accuracy", 0.9),
    ],
)
def test_those_with_files_learn_something(shared_data, found, pipeline, metric, bound):
    value = found[pipeline][metric]
    assert value >= bound if bound > 0 else value <= -bound
