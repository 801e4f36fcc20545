"""Networks that only predict: a small one of Keras; the names of classes; what is no network."""

import keras
import numpy as np
import pytest

from headrace.components.errors import DataError
from headrace.components.models.classifier_settings import KerasNetwork, TfliteNetwork
from headrace.components.models.classifiers import open_network, read_names, top_classes

WEIGHTS = {"name": "small.weights.h5", "url": "/weights/small.weights.h5"}
SMALL = KerasNetwork(name="mobilenet", alpha=0.25, size=32, weights=WEIGHTS)


def test_a_network_of_keras_gives_what_keras_gives(tmp_path):
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, weights=None)
    model.save_weights(tmp_path / "small.weights.h5")
    network = open_network(SMALL, (tmp_path / "small.weights.h5").read_bytes())
    photo = np.random.default_rng(1).uniform(0, 255, (network.height, network.width, 3)).astype(np.float32)
    expected = np.asarray(model(keras.applications.mobilenet.preprocess_input(photo[np.newaxis].copy())))[0]
    np.testing.assert_allclose(network.scores(photo), expected, rtol=1e-4)
    assert expected.shape == (1000,)


@pytest.mark.parametrize("network", [SMALL, TfliteNetwork(weights=WEIGHTS)])
def test_what_is_no_network_is_refused(network):
    with pytest.raises(DataError, match=r"no TensorFlow Lite file|not the weights of mobilenet"):
        open_network(network, b"<html>404</html>")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tench\ngoldfish\n", ["tench", "goldfish"]),
        ("   0  background\n   1  tench, Tinca tinca\n   2  goldfish\n", ["tench, Tinca tinca", "goldfish"]),
        ("0: tench\n1: goldfish\n\n", ["tench", "goldfish"]),
    ],
)
def test_names_are_read_without_their_numbers_and_the_background(text, names):
    assert read_names(text, classes=2) == names


@pytest.mark.parametrize("classes", [1, 4, 5])
def test_labels_of_another_network_are_refused(classes):
    with pytest.raises(DataError, match=f"{classes} classes, the labels file 3 lines"):
        read_names("a\nb\nc\n", classes=classes)


def test_the_best_classes_come_first():
    scores = [np.array([0.1, 0.7, 0.2], np.float32), np.array([0.5, 0.0, 0.5], np.float32)]
    table = top_classes(["one.jpg", "two.jpg"], scores, ["a", "b", "c"], top=2)
    assert table.select("file", "rank", "class").rows() == [
        ("one.jpg", 1, "b"),
        ("one.jpg", 2, "c"),
        ("two.jpg", 1, "a"),
        ("two.jpg", 2, "c"),
    ]
    assert table["score"].to_list() == pytest.approx([0.7, 0.2, 0.5, 0.5])
