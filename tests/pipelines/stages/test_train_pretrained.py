"""A pretrained backbone of a file of the project, trained by two workers of a real Ray."""

import hashlib
import json

import keras
import numpy as np
import pytest

from headrace.components.serving_model.saved_model import load_model
from headrace.pipelines.project.trusted_code import code_of_project

pytestmark = pytest.mark.slow

MODEL = """\
import keras
from keras import layers


def build_model(inputs, label, *, weights, trainable: bool = False):
    network = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=weights, pooling="avg", name="network"
    )
    network.trainable = trainable
    photos = layers.Concatenate()([layers.UpSampling2D(4)(inputs["image"])] * 3)
    features = network(layers.Rescaling(2, -1)(photos), training=False)
    return keras.Model(inputs, layers.Dense(label.outputs, name="head")(features))
"""
WEIGHTS = "weights/small.weights.h5"
OWN = {"model": {"file": "models/fine_tuned.py", "weights": WEIGHTS}, "epochs": 1, "global_batch_size": 256}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with weights of the network, as somebody else has trained it."""
    keras.utils.set_random_seed(1)
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    network = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    network.save_weights(file)
    return file


@pytest.fixture
def own(project, weights):
    for name in ("models", "weights"):
        (project.root / name).mkdir(exist_ok=True)
    (project.root / "models" / "fine_tuned.py").write_text(MODEL, encoding="utf-8")
    (project.root / WEIGHTS).write_bytes(weights.read_bytes())
    project.change_train(**OWN)
    return project


@pytest.mark.long
def test_a_frozen_backbone_keeps_its_weights_and_is_served_without_their_file(own, weights):
    optimizer = {"kind": "adam", "learning_rate": 0.01, "rates": [{"layers": "head", "factor": 2.0}]}
    own.change_train(optimizer=optimizer)
    code, output = own.train()
    assert code == 0, output
    identity = json.loads(own.paths.run.read_text())["identity"]
    assert identity["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()

    (own.root / WEIGHTS).unlink()
    model = load_model(own.paths.model, may_run=code_of_project(own.root))
    expected = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=str(weights), pooling="avg"
    )
    [network] = [layer for layer in model._flatten_layers() if layer.name == "network"]
    for one, other in zip(network.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    images = np.random.default_rng(0).uniform(0, 16, (5, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(model({"image": images})).sum(axis=1), 1, rtol=1e-5)

    (own.root / WEIGHTS).write_bytes(weights.read_bytes())
    code, output = own.train()
    assert (code, "trained before" in output) == (0, True), output


@pytest.mark.parametrize(
    ("changes", "content", "said"),
    [
        ({}, None, f"train.model.weights: no such file or folder in the project: {WEIGHTS}"),
        ({}, b"<html>", "small.weights.h5: expected an HDF5 file, as Keras writes weights, found b'<html>'"),
        ({"arguments": {"alpha": 1}}, b"\x89HDF\r\n\x1a\n", "build_model: takes no argument 'alpha'"),
        ({}, b"\x89HDF\r\n\x1a\n", "models/fine_tuned.py:6: OSError: "),
    ],
)
def test_a_mistake_in_weights_is_one_line_before_any_work(own, changes, content, said):
    own.change_train(model={**OWN["model"], **changes})
    (own.root / WEIGHTS).unlink()
    if content is not None:
        (own.root / WEIGHTS).write_bytes(content)
    process = own.start("check", "digits")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 2, output
    assert said in output
    assert "Traceback" not in output


def test_a_rate_of_no_layer_is_refused_before_any_work(own):
    own.change_train(optimizer={"kind": "sgd", "learning_rate": 0.01, "rates": [{"layers": "netwrk", "factor": 0.1}]})
    process = own.start("check", "digits")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 2, output
    assert "train.optimizer.rates.0.layers: no layer 'netwrk'; did you mean 'network'?" in output
