"""Named architectures: published numbers of parameters, sizes by the formula, and each learns.

Where the numbers are from: LeNet-5 without its output, LeCun et al. (1998), section II.B; its modern form and AlexNet
in one tower as they are commonly counted; AlexNet in two towers and GoogLeNet as in Caffe's bvlc_alexnet and
bvlc_googlenet (with heads, at four bytes each, its file of 53.5 MB); VGG as in Keras's VGG16 and VGG19 and in
torchvision's vgg11 and vgg13, C by the paper's table 1. The papers round: 60 million, 133 to 144 million.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from headrace.components.models.build import build, build_for_training, parameter_count
from headrace.components.models.output import Output
from headrace.components.models.settings import Model

IMAGENET, DIGITS = Output(1000), Output(10)
PUBLISHED = [
    ({"kind": "lenet"}, (28, 28, 1), 60_000 + 84 * 10 + 10),
    ({"kind": "lenet", "variant": "modern"}, (28, 28, 1), 61_706),
    ({"kind": "alexnet"}, (227, 227, 3), 60_965_224),
    ({"kind": "alexnet", "towers": 1}, (227, 227, 3), 62_378_344),
    ({"kind": "vgg", "configuration": "A"}, (224, 224, 3), 132_863_336),
    ({"kind": "vgg", "configuration": "A-LRN"}, (224, 224, 3), 132_863_336),
    ({"kind": "vgg", "configuration": "B"}, (224, 224, 3), 133_047_848),
    ({"kind": "vgg", "configuration": "C"}, (224, 224, 3), 133_638_952),
    ({"kind": "vgg", "configuration": "D"}, (224, 224, 3), 138_357_544),
    ({"kind": "vgg", "configuration": "E"}, (224, 224, 3), 143_667_240),
    ({"kind": "googlenet", "auxiliary_heads": False}, (224, 224, 3), 6_998_552),
    ({"kind": "googlenet"}, (224, 224, 3), 13_378_280),
    # No number is published for the naive modules; the paper says that they grow too wide.
    ({"kind": "googlenet", "auxiliary_heads": False, "reduction": False}, (224, 224, 3), 97_526_008),
]


@pytest.fixture
def without_memory() -> Iterator[None]:
    """Weights have shapes, but no values: VGG's would be half a gigabyte."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # else the next such scope would make them all


def for_training(architecture: dict[str, Any], input_shape: tuple[int, int, int], output: Output) -> keras.Model:
    model = Model.model_validate({"architecture": architecture})
    stock = {"dropout": keras.layers.Dropout, "drop_connect": keras.layers.Dense}
    return build_for_training(model, input_shape=input_shape, output=output, **stock)


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(("architecture", "input_shape", "parameters"), PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(architecture, input_shape, parameters):
    output = DIGITS if architecture["kind"] == "lenet" else IMAGENET
    assert parameter_count(for_training(architecture, input_shape, output)) == parameters


@pytest.mark.usefixtures("without_memory")
def test_the_saved_googlenet_has_no_heads():
    model = Model.model_validate({"architecture": {"kind": "googlenet"}})
    core = build(model, input_shape=(224, 224, 3), output=IMAGENET)
    assert parameter_count(core) == 6_998_552
    weights = for_training({"kind": "googlenet"}, (224, 224, 3), IMAGENET).weights
    assert [weight.path for weight in core.weights] == [weight.path for weight in weights[: len(core.weights)]]


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(("architecture", "input_shape", "parameters"), PUBLISHED)
def test_every_window_has_as_many_places_as_the_formula_says(architecture, input_shape, parameters):
    """(W - K + 2P) / S + 1, rounded down, with the padding of "same": as many places as there are strides."""
    model = Model.model_validate({"architecture": architecture})
    core = build(model, input_shape=input_shape, output=DIGITS)
    windowed = (keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
    layers = [layer for layer in core.layers if isinstance(layer, windowed)]
    assert len(layers) >= 5
    for layer in layers:
        (size, _), (strides, _) = getattr(layer, "kernel_size", None) or layer.pool_size, layer.strides
        before, after = layer.input.shape[1], layer.output.shape[1]
        padded = 0 if layer.padding == "valid" else max(0, (-(-before // strides) - 1) * strides + size - before)
        assert after == max(0, before - size + padded) // strides + 1, layer.name


SIZES = [  # where the papers say how large the image is: AlexNet's figure 2, GoogLeNet's table 1
    ({"kind": "lenet", "padding": 0}, (32, 32, 1), {"c1": 28, "s2": 14, "c3": 10, "s4": 5, "c5": 1}),
    ({"kind": "alexnet"}, (227, 227, 3), {"conv1": 55, "conv2": 27, "conv3": 13, "conv5": 13}),
    ({"kind": "vgg"}, (224, 224, 3), {"pool1": 112, "pool3": 28, "pool5": 7}),
    (
        {"kind": "googlenet"},
        (224, 224, 3),
        {"conv1_7x7_s2": 112, "pool1_3x3_s2": 56, "inception_3a_output": 28, "inception_4e_output": 14}
        | {"inception_5b_output": 7, "auxiliary_1_pool": 4, "auxiliary_2_pool": 4},
    ),
]


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(("architecture", "input_shape", "sizes"), SIZES)
def test_images_are_as_large_as_in_the_papers(architecture, input_shape, sizes):
    trained = for_training(architecture, input_shape, DIGITS)
    layers = getattr(trained, "with_heads", trained)
    assert {name: layers.get_layer(name).output.shape[1] for name in sizes} == sizes


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(
    ("kind", "padding"), [("lenet", 0), ("lenet", 2), ("alexnet", 0), ("vgg", 0), ("googlenet", 0)]
)
def test_the_smallest_size_is_the_smallest_that_can_be_built(kind, padding):
    given = {"kind": kind, "padding": padding} if kind == "lenet" else {"kind": kind}
    smallest = Model.model_validate({"architecture": given}).architecture.smallest_input
    for_training(given, (smallest, smallest, 1), DIGITS)
    with pytest.raises(ValueError, match=r"zero or negative|Negative dimension size"):
        for_training(given, (smallest - 1, smallest - 1, 1), DIGITS)


LEARNING = [
    {"kind": "lenet", "padding": 0},
    {"kind": "alexnet", "width": 0.125, "dropout": 0.1},
    {"kind": "vgg", "configuration": "A-LRN", "width": 0.125, "dropout": 0},
    {"kind": "vgg", "configuration": "E", "width": 0.125, "dropout": 0},
    {"kind": "googlenet", "width": 0.125, "dropout": 0},
]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", LEARNING)
def test_it_learns_a_small_set_and_is_saved_without_what_training_only_has(architecture, tmp_path):
    keras.utils.set_random_seed(1)
    size = Model.model_validate({"architecture": architecture}).architecture.smallest_input
    images, labels = small_set(size)
    trained = for_training(architecture, (size, size, 1), DIGITS)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.Adam(0.001), loss, metrics=["accuracy"], jit_compile=False)
    history = trained.fit(images, labels, batch_size=8, epochs=12, verbose=0).history
    assert list(history) == ["accuracy", "loss"]

    core = build(Model.model_validate({"architecture": architecture}), input_shape=(size, size, 1), output=DIGITS)
    core.set_weights(trained.get_weights()[: len(core.weights)])
    core.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    found = np.argmax(loaded(images), axis=-1)
    assert np.mean(found == labels) >= 0.9  # by guessing: 0.25


def small_set(size: int) -> tuple[np.ndarray, np.ndarray]:
    """40 digits from 0 to 3, float32[40, size, size, 1] from 0 to 1, with every pixel repeated and a dark edge."""
    images, labels = load_digits(n_class=4, return_X_y=True)
    images = np.kron(images[:40].reshape(-1, 8, 8) / 16, np.ones((1, size // 8, size // 8)))
    edge = size - images.shape[1]
    padded = np.pad(images, ((0, 0), (edge // 2, edge - edge // 2), (edge // 2, edge - edge // 2)))
    return padded[..., np.newaxis].astype(np.float32), labels[:40].astype(np.int32)
