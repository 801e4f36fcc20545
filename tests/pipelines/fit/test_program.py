"""`headrace.fit` as a program of one's own calls it: with real workers, and what it refuses before any work."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.fit.program import fit
from headrace.pipelines.fit.record import home_of
from headrace.pipelines.tracking.server import connect

PROGRAM = '''\
"""A program as a user writes it: model, data and training in one file, its layers in another."""

import json
import sys
from pathlib import Path

import keras
import numpy as np

import headrace
from own_layers import Scale

ROWS, SEED = 48, 3


@keras.saving.register_keras_serializable(package="own")
class Regression(keras.Model):
    """A subclass with a training step and a metric of its own."""

    def __init__(self, units, **others):
        super().__init__(**others)
        self.units = units
        self.scale, self.hidden, self.head = Scale(), keras.layers.Dense(units), keras.layers.Dense(1)

    def call(self, inputs):
        return self.head(keras.ops.tanh(self.hidden(self.scale(inputs["x"])) + inputs["offset"]))

    def get_config(self):
        return {"units": self.units}


def build_model(*, units: int = 4):
    model = Regression(units)
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


def build_callbacks():
    return [keras.callbacks.ReduceLROnPlateau("loss", patience=100)]


def examples():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 3))
    return {"x": x, "offset": draw.normal(size=(ROWS, 1))}, x.sum(axis=1, keepdims=True)


def by_keras(epochs):
    keras.utils.set_random_seed(SEED)
    model, (features, labels) = build_model(units=5), examples()
    model.fit(features, labels, batch_size=ROWS, epochs=epochs, shuffle=False, verbose=0)
    return model


if __name__ == "__main__":
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    result = headrace.fit(
        build_model,
        train=examples(),
        folder=folder,
        arguments={"units": 5},
        callbacks=build_callbacks,
        seed=SEED,
        **{"epochs": 3, "global_batch_size": ROWS, "num_workers": 2, **settings},
    )
    weights = [weight.tolist() for weight in result.model.get_weights()]
    expected = [weight.tolist() for weight in by_keras(len(result.history["loss"])).get_weights()]
    print(json.dumps([result.history, result.best_epoch, result.mlflow_run_id, weights, expected]))
'''
LAYERS = """\
import keras


@keras.saving.register_keras_serializable(package="own")
class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale
"""


LAUNCHER = (str(Path(sys.executable).with_name("headrace")), "launch", "-n", "2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "own_layers.py").write_text(LAYERS, encoding="utf-8")
    (tmp_path / "params.yaml").write_text("pipelines: []\n", encoding="utf-8")  # else a project above would be taken
    return tmp_path


def start(
    home: Path,
    folder: str,
    *,
    launcher: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> subprocess.Popen:
    return subprocess.Popen(
        [*(launcher or [sys.executable]), "program.py", folder, json.dumps(settings)],
        cwd=home,
        env={**os.environ, "HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(home: Path, folder: str, *, code: int = 0, **settings: object) -> str:
    process = start(home, folder, **settings)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == code, output
    return output


def outcome(output: str) -> list:
    return json.loads(output.splitlines()[-1])


def launched_outcomes(output: str) -> list[list]:
    return [json.loads(line[4:]) for line in output.splitlines() if line[4:].startswith("[{")]


def wait_for_a_checkpoint(home: Path, folder: str, process: subprocess.Popen) -> None:
    checkpoints = home / folder / ".fit" / "training" / "checkpoints"
    deadline_seconds = time.monotonic() + 200
    while not list(checkpoints.glob("step-*")) and process.poll() is None:
        assert time.monotonic() < deadline_seconds
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_train_what_plain_keras_trains_and_the_same_call_trains_nothing(home):
    history, best_epoch, run_id, weights, expected = outcome(run(home, "runs/a"))

    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert history["loss"][2] < history["loss"][0]
    assert best_epoch == 3
    folder = home / "runs" / "a"
    assert {path.name for path in folder.iterdir()} == {
        ".fit.lock", "checkpoint", "checkpoints", "fit.json", "history.csv", "model.keras", "tensorboard",
    }  # fmt: skip
    assert (home / ".headrace").stat().st_mode & 0o077 == 0
    mlflow_run = connect(home).get_run(run_id)
    assert mlflow_run.info.status == "FINISHED"
    assert len(connect(home).get_metric_history(run_id, "loss")) == 3
    assert {one.path for one in connect(home).list_artifacts(run_id, "fit")} == {"fit/model.keras", "fit/history.csv"}

    again = run(home, "runs/a")

    assert "trained before from the same data, settings and code: kept" in again
    assert outcome(again)[3] == weights
    assert "holds a training with other train" in run(home, "runs/a", code=1, epochs=4)
    (folder / "model.keras").write_bytes(b"")
    assert "is not the file that fit.json names" in run(home, "runs/a", code=1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_processes_of_a_launcher_train_the_same_as_workers_of_ray(home):
    by_ray = outcome(run(home, "runs/ray"))

    launched = run(home, "runs/launched", launcher=LAUNCHER, num_workers=1)

    outcomes = launched_outcomes(launched)
    assert len(outcomes) == 2, launched
    for one in outcomes:
        assert one[3] == by_ray[3]  # weights, bit for bit, in both processes
    assert not (home / "runs" / "launched" / ".fit").exists()
    [run_id] = {one[2] for one in outcomes} - {None}
    assert connect(home).get_run(run_id).info.status == "FINISHED"
    assert json.loads((home / "runs" / "launched" / "fit.json").read_text(encoding="utf-8"))["groups"] == [
        {"num_workers": 2, "threads_per_worker": 1}
    ]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_group_that_lost_a_process_continues_with_the_next_batch(home):
    settings = {"epochs": 60, "global_batch_size": 8, "num_workers": 1}
    whole, _ = launched_outcomes(run(home, "runs/whole", launcher=LAUNCHER, **settings))
    process = start(home, "runs/lost", launcher=LAUNCHER, **settings)
    wait_for_a_checkpoint(home, "runs/lost", process)
    members = [one for one in psutil.Process(process.pid).children() if "program.py" in one.cmdline()]
    members[1].kill()
    output, _ = process.communicate(timeout=280)

    assert process.returncode == 0, output
    assert "a process failed: the group is started again" in output
    continued, _ = launched_outcomes(output)
    assert continued[3] == whole[3]  # weights, bit for bit
    assert continued[0]["loss"] == whole[0]["loss"]
    [run_id] = {one[2] for one in launched_outcomes(output)} - {None}
    assert len(connect(home).get_metric_history(run_id, "loss")) == 60


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_program_that_was_killed_continues_with_the_next_batch(home):
    settings = {"epochs": 40, "global_batch_size": 8}
    whole = outcome(run(home, "runs/whole", **settings))
    process = start(home, "runs/killed", **settings)
    wait_for_a_checkpoint(home, "runs/killed", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    unfinished = json.loads((home / "runs" / "killed" / "fit.json").read_text(encoding="utf-8"))
    assert unfinished["trained_at"] is None

    continued = outcome(run(home, "runs/killed", **settings))

    assert continued[3] == whole[3]  # bit for bit
    assert continued[0]["loss"] == whole[0]["loss"]
    assert len(connect(home).get_metric_history(continued[2], "loss")) == 40


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("storage", [False, True])
def test_a_cluster_trains_the_same_from_a_shared_folder_and_through_a_storage(home, ray_nodes, free_ports, storage):
    here = outcome(run(home, "runs/here"))
    nodes, [port] = ray_nodes(), free_ports(1)
    try:
        head = ["--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
        nodes.start(*head, f"--temp-dir={nodes.temporary}")
        environment = {
            "RAY_ADDRESS": f"127.0.0.1:{port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": nodes.TOKEN,
            **({"HEADRACE_STORAGE": str(home / "storage")} if storage else {}),
        }
        there = outcome(run(home, "runs/there", environment=environment))
    finally:
        nodes.stop()

    assert there[3] == here[3]  # weights, bit for bit
    assert there[0]["loss"] == here[0]["loss"]
    assert (home / "storage").exists() == storage


# The functions of this file can't be given: pytest imports it by a name of its own.
@pytest.fixture(name="fit_nothing")
def _fit_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    (tmp_path / "nothing.py").write_text("def build_nothing(): ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield partial(fit, importlib.import_module("nothing").build_nothing, folder=tmp_path / "run")
    del sys.modules["nothing"]


X, Y = np.zeros((8, 2)), np.zeros(8)
GIVEN = {"train": (X, Y), "epochs": 1, "global_batch_size": 4}


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"epochs": 0}, ParamsError, "argument.epochs: input should be greater than or equal to 1, found 0"),
        ({"global_batch": 8}, ParamsError, "argument.global_batch: unknown name"),
        ({"num_workers": 3}, ParamsError, "too small for 3 workers; raise it to 6"),
        ({"arguments": {"units": 4}}, ParamsError, "build_nothing: takes no argument 'units'"),
        ({"arguments": {"rate": np.float32(1)}}, ParamsError, "found float32"),
        ({"callbacks": lambda: [1]}, ParamsError, "callbacks: <lambda> is made within another function"),
        ({"callbacks": pytest.fixture}, ParamsError, "an installed package"),
        ({"validation": (X, Y[:2])}, DataError, "validation: expected arrays of one length"),
        ({"label": "y"}, DataError, "label=, which is for tables"),
    ],
)
def test_mistakes_are_refused_before_any_work(settings, error, said, fit_nothing, tmp_path):
    with pytest.raises(error) as refused:
        fit_nothing(**{**GIVEN, **settings})

    assert said in str(refused.value)
    assert not (tmp_path / "run" / "fit.json").exists()


def test_the_address_of_a_job_server_is_refused(fit_nothing, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")

    with pytest.raises(ParamsError, match="ray job submit"):
        fit_nothing(**GIVEN)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"num_workers": 3}, "TF_CONFIG has 2 processes"), ({"force": True}, "remove the folder instead")],
)
def test_what_a_group_of_processes_can_not_have_is_refused(settings, said, fit_nothing, monkeypatch):
    workers = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    monkeypatch.setenv("HEADRACE_GROUP_SECRET", "s" * 32)

    with pytest.raises(ParamsError, match=said):
        fit_nothing(**GIVEN, **settings)


def test_mlflows_store_is_that_of_the_project_that_the_folder_is_in(tmp_path):
    (tmp_path / "project" / "runs").mkdir(parents=True)
    (tmp_path / "project" / "params.yaml").touch()

    assert home_of(tmp_path / "project" / "runs" / "a") == tmp_path / "project"
