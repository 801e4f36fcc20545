"""What a training takes of memory beside its model, which decides how large a model may be."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

PARAMETERS = 10_000_000
# Weights, Adam's moments and gradients take 4.1 of these eight layers; a copy of the weights that stays is one more.
MOST_TIMES_THE_WEIGHTS = 4.8

TRAINING = """
import json, sys
from pathlib import Path
from headrace.components.compatibility.keras_import import import_keras
import_keras()
import keras
import numpy as np
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Trainee, Worker, train_worker
from headrace.components.training.observer import Observer
from headrace.components.training.optimization.adam import FusedAdam
from headrace.components.training.plan import Plan

LAYERS = 8

def mebibytes(name):
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))

def train(width, folder, epochs):
    def make(*_):
        dense = keras.layers.Dense
        hidden = [dense(width, "relu") for _ in range(LAYERS)]
        model = keras.Sequential([keras.Input((width,)), *hidden, dense(2)])
        model.compile(FusedAdam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return Trainee(model)
    generator = np.random.default_rng(0)
    examples = Columns(generator.random((24, width), np.float32), generator.integers(0, 2, 24).astype(np.int32))
    # Of the validation split all labels are others, so the first epoch stays the best.
    others = Columns(examples.features, 1 - examples.labels)
    plan = Plan(global_batch_size=8, epochs=epochs)
    return train_worker(
        examples, others, make=make, plan=plan, worker=Worker(0, 1), folder=folder, observer=Observer()
    )

folder, parameters, epochs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
train(8, folder / "small", 1)
before = mebibytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
final = train(round((parameters / LAYERS) ** 0.5), folder / "large", epochs)
weights = sum(one.nbytes for one in final.weights) / 2**20
print(json.dumps({"times": (mebibytes("VmHWM") - before) / weights, "best_epoch": final.state.best_epoch}))
"""


@pytest.fixture
def train(tmp_path, repository) -> Callable[[int], dict[str, float]]:
    """Train so many epochs in a process of its own, whose peak of memory counts from a small training on."""

    def run(epochs: int) -> dict[str, float]:
        ended = subprocess.run(
            [sys.executable, "-c", TRAINING, str(tmp_path), str(PARAMETERS), str(epochs)],
            env={**os.environ, "PYTHONPATH": str(repository), "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        return dict(json.loads(ended.stdout))

    return run


@pytest.mark.long
def test_a_training_with_adam_holds_no_copy_of_its_weights(train):
    """Also where an early epoch stays the best, whose weights are in its checkpoint alone."""
    found = train(3)
    assert found["best_epoch"] == 1
    assert found["times"] < MOST_TIMES_THE_WEIGHTS


@pytest.mark.long
def test_a_training_that_continues_holds_at_most_one_array_more(train):
    train(2)
    assert train(3)["times"] < MOST_TIMES_THE_WEIGHTS + 1  # 5.0
