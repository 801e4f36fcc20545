"""Models from a list of layers."""

import keras
import numpy as np
import pytest

from headrace.components.models.build import build, build_for_training, parameter_count, with_probabilities
from headrace.components.models.layers.basic import ActivationLayer, Dense, DropConnect, Dropout, Flatten
from headrace.components.models.layers.convolutions import Conv2D
from headrace.components.models.layers.normalizations import BatchNormalization, LocalResponseNormalization
from headrace.components.models.layers.pooling import GlobalPooling2D, Pooling2D
from headrace.components.models.output import Output
from headrace.components.models.settings import LeNet, Model
from headrace.components.transforms.augment import Augment

OUTPUT = Output(3)


def test_the_classic_convolutional_net_has_the_published_number_of_parameters():
    """TensorFlow's MNIST tutorial: 5x5x32, 5x5x64, 1024, 10: 3,274,634 parameters."""
    layers = [
        Conv2D(filters=32, kernel_size=5, activation="relu"),
        Pooling2D(kind="max_pooling2d"),
        Conv2D(filters=64, kernel_size=5, activation="relu"),
        Pooling2D(kind="max_pooling2d"),
        Flatten(),
        Dense(units=1024, activation="relu"),
        Dropout(rate=0.5),
    ]
    assert parameter_count(build(Model(layers=layers), input_shape=(28, 28, 1), output=Output(10))) == 3_274_634


@pytest.mark.parametrize("units", [3, 1])
def test_every_kind_of_layer_builds_and_runs(units):
    layers = [
        Conv2D(filters=4, kernel_size=3, l2=0.1),
        BatchNormalization(),
        ActivationLayer(activation="relu"),
        LocalResponseNormalization(),
        Pooling2D(kind="average_pooling2d"),
        GlobalPooling2D(kind="global_average_pooling2d"),
        Dense(units=5, l2=0.1),
        DropConnect(units=4, activation="relu"),
    ]
    core = build(Model(layers=layers), input_shape=(8, 8, 3), output=Output(units))
    outputs = (with_probabilities(core) if units > 1 else core)(np.zeros((2, 8, 8, 3), np.float32))
    assert outputs.shape == (2, units)
    assert len(core.losses) == 2


def test_an_image_without_layers_is_flattened_for_the_output():
    core = build(Model(layers=()), input_shape=(2, 2, 1), output=OUTPUT)
    assert parameter_count(core) == 4 * 3 + 3


def test_a_layer_that_drops_weights_is_saved_as_a_stock_one():
    core = build(Model(layers=(DropConnect(units=4, activation="relu"),)), input_shape=(3,), output=OUTPUT)
    assert [type(layer) for layer in core.layers[1:]] == [keras.layers.Dense] * 2


@pytest.mark.parametrize("given", [{"layers": (Conv2D(filters=2, kernel_size=3),)}, {"architecture": LeNet()}])
def test_images_are_augmented_first_in_training_and_the_saved_model_has_no_such_layer(given):
    model = Model(augment=Augment(flip="horizontal"), **given)
    stock = {"dropout": keras.layers.Dropout, "drop_connect": keras.layers.Dense}
    added = keras.layers.Rescaling(2.0, name="added")
    training = build_for_training(model, input_shape=(28, 28, 1), output=OUTPUT, first=added, **stock)
    saved = build(model, input_shape=(28, 28, 1), output=OUTPUT)
    assert [layer.name for layer in training.layers].index("added") == 1
    assert "added" not in [layer.name for layer in saved.layers]
    saved.set_weights(training.get_weights())
    images = np.random.default_rng(1).random((2, 28, 28, 1), np.float32)
    np.testing.assert_allclose(training(images), saved(2 * images), rtol=1e-5)


def test_the_output_stays_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        core = build(Model(layers=(Dense(units=4),)), input_shape=(3,), output=OUTPUT)
    finally:
        keras.config.set_dtype_policy("float32")
    assert core.output.dtype == "float32"
