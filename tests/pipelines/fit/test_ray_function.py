"""`headrace.train_function` in a Ray Train trainer of one's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.fit.ray_function import train_function

PROGRAM = """\
import json
import os
import sys
from pathlib import Path

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

import headrace
from own_model import build_callbacks, build_model, by_keras, load_data

backend = {"backend_config": headrace.TensorflowBackendConfig()} if sys.argv[1] == "backend" else {}
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
trainer = DataParallelTrainer(
    headrace.train_function(
        build_model, train=load_data, epochs=4, global_batch_size=32, seed=3, callbacks=build_callbacks
    ),
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(
        name=os.environ["HOW"], storage_path=str(Path("runs").resolve()), failure_config=FailureConfig(max_failures=1)
    ),
    **backend,
)
result = trainer.fit()
with result.checkpoint.as_directory() as folder:
    model = headrace.load_model(Path(folder) / "model.keras", may_run=lambda sources: True)
    weights = [weight.tolist() for weight in model.get_weights()]
ray.shutdown()
expected = [weight.tolist() for weight in by_keras(4).get_weights()]
print(json.dumps([result.metrics, weights, expected]))
"""
MODEL = """\
import os
import signal
from pathlib import Path

import keras
import numpy as np

MARK = Path(os.environ["MARK"])


ROWS = int(os.environ["ROWS"])


class DiesOnce(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2 and os.environ["HOW"] == "killed" and not MARK.exists():
            MARK.touch()
            os._exit(1)

    def on_train_batch_begin(self, batch, logs=None):
        if os.environ.get("COUNTED"):
            with open(os.environ["COUNTED"], "a") as file:
                file.write("x")
        if self.model.optimizer.iterations == 4 and os.environ["HOW"] == "asked to leave" and not MARK.exists():
            MARK.touch()
            os.kill(os.getpid(), signal.SIGTERM)


def build_callbacks():
    return [DiesOnce()]


def build_model():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(4, activation="tanh")(inputs)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def load_data():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 3))
    return x, x.sum(axis=1, keepdims=True)


def by_keras(epochs):
    keras.utils.set_random_seed(3)
    model, (x, y) = build_model(), load_data()
    model.fit(x, y, batch_size=32, epochs=epochs, shuffle=False, verbose=0)
    return model
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "own_model.py").write_text(MODEL, encoding="utf-8")
    return tmp_path


def run(home: Path, backend: str, *, how: str, rows: int = 32, **variables: str) -> list[Any]:
    """Metrics, weights, and the weights that plain Keras has where the rows are one batch."""
    own = {"HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3", "MARK": str(home / "died"), "HOW": how, "ROWS": str(rows)}
    ended = subprocess.run(
        [sys.executable, "program.py", backend],
        cwd=home,
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found: list[Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_group_that_died_goes_on_from_rays_checkpoint_to_what_plain_keras_trains(home):
    metrics, weights, expected = run(home, "backend", how="killed")
    assert (home / "died").exists()
    assert metrics["epoch"] == 4
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_group_that_is_asked_to_leave_within_an_epoch_goes_on_with_its_next_step(home):
    steps = {}
    weights = {}
    for how in ("undisturbed", "asked to leave"):
        counted = home / f"{how}.txt"
        metrics, weights[how], _ = run(home, "backend", how=how, rows=96, COUNTED=str(counted))
        assert metrics["epoch"] == 4
        steps[how] = counted.stat().st_size
    assert (home / "died").exists()
    assert steps == {"undisturbed": 2 * 12, "asked to leave": 2 * 12}  # of two workers; none was made again
    for found, wanted in zip(weights["asked to leave"], weights["undisturbed"], strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_no_worker_can_import_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="made within another function"):
        train_function(lambda: None, train=list, epochs=1, global_batch_size=8)
