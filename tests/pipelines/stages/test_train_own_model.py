"""A model of a file of the project, trained by two workers of a real Ray, evaluated, registered and loaded again."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from headrace.components.errors import DataError
from headrace.components.serving_model.saved_model import load_model
from headrace.pipelines.commands.check import require_own_model
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.project.trusted_code import code_of_project

pytestmark = pytest.mark.slow

MODEL = """\
import keras
from keras import layers, ops

from models.gates import ChannelGate


@keras.saving.register_keras_serializable(package="own")
class Network(keras.Model):
    def __init__(self, outputs, filters, **others):
        super().__init__(**others)
        self.outputs_, self.filters = outputs, filters
        self.convolution = layers.Conv2D(filters, 3, activation="relu")
        self.gate = ChannelGate()
        self.head = layers.Dense(outputs)

    def call(self, images, training=False):
        return self.head(layers.Flatten()(self.gate(self.convolution(images))))

    def get_config(self):
        return {"outputs": self.outputs_, "filters": self.filters}


def build_model(inputs, label, *, filters: int = 4):
    return Network(label.outputs, filters)


@keras.saving.register_keras_serializable(package="own")
class HalfCrossentropy(keras.losses.Loss):
    def call(self, labels, outputs):
        return 0.5 * keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)


def build_loss(label):
    return HalfCrossentropy()


def build_metrics(label):
    return [keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top_2")]


def build_optimizer(*, steps_per_epoch, epochs):
    return keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, steps_per_epoch * epochs), momentum=0.9)
"""
GATES = """\
import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="own")
class ChannelGate(layers.Layer):
    def build(self, shape):
        self.dense = layers.Dense(shape[-1], activation="sigmoid")
        self.dense.build((None, shape[-1]))

    def call(self, images):
        return images * self.dense(ops.mean(images, axis=(1, 2)))[:, None, None, :]
"""
OWN = {
    "model": {
        "file": "models/network.py",
        "arguments": {"filters": 3},
        "loss": "build_loss",
        "metrics": "build_metrics",
        "optimizer": "build_optimizer",
    },
    "optimizer": None,
    "best_by": "validation_top_2",
}


def write(root: Path, **files: str) -> None:
    (root / "models").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "models" / f"{name}.py").write_text(text, encoding="utf-8")


@pytest.fixture
def own(project):
    write(project.root, network=MODEL, gates=GATES)
    project.change_train(**OWN)
    return project


def test_a_model_of_a_file_is_trained_by_two_workers_and_kept_with_its_code(own, capsys):
    code, output = own.train()
    assert code == 0, output
    with own.paths.history.open() as file:
        history = list(csv.DictReader(file))
    assert {"loss", "top_2", "validation_loss", "validation_top_2"} <= history[0].keys()
    run = json.loads(own.paths.run.read_text())
    assert set(run["identity"]["code"]) == {"models/network.py", "models/gates.py"}

    images = np.random.default_rng(0).uniform(0, 16, (5, 8, 8, 1)).astype(np.float32)
    expected = np.asarray(load_model(own.paths.model, may_run=code_of_project(own.root))({"image": images}))
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)

    code, output = own.train()
    assert code == 0, output
    assert "trained before" in output

    require_own_model(load_pipeline(own.root / "params.yaml", "digits"), own.paths)
    assert "before any work" not in capsys.readouterr().err
    fitted = own.paths.statistics.read_text()
    own.paths.statistics.write_text(fitted + "\n")  # fitted again, to other data
    require_own_model(load_pipeline(own.root / "params.yaml", "digits"), own.paths)
    assert "before any work" in capsys.readouterr().err
    own.paths.statistics.write_text(fitted)

    # The file changes: the saved model still runs the code that it holds, and another one is trained.
    write(own.root, gates=GATES.replace('"sigmoid"', '"relu"'))
    require_own_model(load_pipeline(own.root / "params.yaml", "digits"), own.paths)
    assert "models/network.py: the model is built, saved and loaded before any work" in capsys.readouterr().err
    loaded = load_model(own.paths.model, may_run=code_of_project(own.root))
    np.testing.assert_array_equal(np.asarray(loaded({"image": images})), expected)
    code, output = own.train()
    assert code == 0, output
    assert "trained before" not in output
    assert json.loads(own.paths.run.read_text())["run_name"] != run["run_name"]

    elsewhere = own.root / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(DataError, match=r"models/gates.py, models/network.py, which is not code of this project"):
        load_model(own.paths.model, may_run=code_of_project(elsewhere))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            MODEL.replace('@keras.saving.register_keras_serializable(package="own")\nclass Network', "class Network"),
            "can't be saved and loaded again: Could not locate class 'Network'",
            marks=pytest.mark.long,
        ),
        pytest.param(
            MODEL.replace('"filters": self.filters', '"filters": 4'),
            "models/network.py: build_model: ",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_model_that_can_not_be_loaded_again_is_refused_before_its_first_step(own, text, said):
    write(own.root, network=text)
    code, output = own.train()
    assert code == 2, output
    assert said in output
    assert "epoch 1" not in output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file": "models/none.py"}, "params.yaml: digits.train.model: models/none.py: no such file in the project"),
        ({"function": "build"}, "models/network.py: no function 'build'; did you mean 'build_loss'"),
        ({"arguments": {"filter": 3}}, "models/network.py:23: build_model: takes no argument 'filter'"),
        ({"arguments": {"filters": "many"}}, "argument 'filters': Input should be a valid integer"),
        ({"loss": "build_metrics"}, "models/network.py: build_metrics returned"),
    ],
)
def test_a_mistake_in_own_code_is_one_line(own, change, said):
    own.change_train(model={**OWN["model"], **change})
    code, output = own.train()
    assert code == 2, output
    assert said in output
    assert "Traceback" not in output
