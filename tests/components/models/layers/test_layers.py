"""Every kind of layer: the shape known without TensorFlow is that of Keras, and what comes out is as described."""

import keras
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from headrace.components.models.build import build
from headrace.components.models.layers.any_layer import Layer
from headrace.components.models.layers.layer import Surroundings, apply_layers
from headrace.components.models.output import Output
from headrace.components.models.settings import Model
from headrace.components.models.shapes import check_text, output_shape

AROUND = Surroundings(keras.layers.Dropout, lambda layer: keras.layers.Dense(layer.units))
IMAGE, SEQUENCE, TABLE = (8, 6, 4), (7, 4), (12,)
RESIDUAL = {"kind": "residual", "layers": [{"kind": "layer_normalization"}, {"kind": "attention", "heads": 2}]}
EMBEDDING = {"kind": "embedding", "units": 4}


def layers(*given):
    return TypeAdapter(tuple[Layer, ...]).validate_python(given)


def window(kind, **settings):
    return {"kind": kind, "filters": 4, "kernel_size": 3, **settings}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        *((window(kind), IMAGE) for kind in ("conv2d", "separable_conv2d", "conv2d_transpose")),
        *((window(kind, strides=2), IMAGE) for kind in ("conv2d", "separable_conv2d", "conv2d_transpose")),
        *((window(kind, strides=2, padding="valid"), IMAGE) for kind in ("separable_conv2d", "conv2d_transpose")),
        *((window(kind, strides=2), SEQUENCE) for kind in ("conv1d", "separable_conv1d", "conv1d_transpose")),
        *((window(kind, padding="valid"), SEQUENCE) for kind in ("conv1d", "separable_conv1d", "conv1d_transpose")),
        (window("conv1d_transpose", strides=4, padding="valid"), SEQUENCE),
        (window("conv1d", padding="causal", dilation=2), SEQUENCE),
        (window("conv1d", padding="valid", dilation=2), SEQUENCE),
        (window("separable_conv1d", depth_multiplier=3), SEQUENCE),
        *(({"kind": kind}, SEQUENCE) for kind in ("max_pooling1d", "average_pooling1d")),
        *(({"kind": kind}, SEQUENCE) for kind in ("global_max_pooling1d", "global_average_pooling1d")),
        ({"kind": "max_pooling1d", "pool_size": 3, "strides": 2, "padding": "same"}, SEQUENCE),
        ({"kind": "layer_normalization"}, SEQUENCE),
        ({"kind": "group_normalization", "groups": 2}, IMAGE),
        ({"kind": "attention", "heads": 2, "dropout": 0.1}, SEQUENCE),
        ({"kind": "attention", "heads": 3, "head_units": 5, "causal": True}, SEQUENCE),
        ({"kind": "position_embedding"}, SEQUENCE),
        ({"kind": "recurrent", "cell": "lstm", "units": 3, "bidirectional": True}, SEQUENCE),
        ({"kind": "recurrent", "cell": "gru", "units": 3, "bidirectional": True, "return_sequences": False}, SEQUENCE),
        ({"kind": "dense", "units": 5, "each_place": True}, SEQUENCE),
        ({"kind": "reshape", "shape": [3, 4]}, TABLE),
        (RESIDUAL, SEQUENCE),
        ({"kind": "residual", "layers": [window("conv2d"), RESIDUAL | {"layers": [window("conv2d")]}]}, IMAGE),
        ({"kind": "parallel", "branches": [[], [{"kind": "dense", "units": 5}]]}, TABLE),
        ({"kind": "parallel", "branches": [[], [window("conv1d")]], "join": "add"}, SEQUENCE),
    ],
    ids=str,
)
def test_the_shape_is_the_one_that_keras_gives(layer, shape):
    [made] = layers(layer)
    tensor = keras.Input(shape)
    output = apply_layers([made], tensor, AROUND)
    assert tuple(output.shape[1:]) == output_shape([made], input_shape=shape)
    values = keras.Model(tensor, output)(np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32))
    assert tuple(values.shape) == (2, *output.shape[1:])


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (window("conv1d"), TABLE, r"layers.0 \(conv1d\): needs a sequence \(length, values\), got shape \(12,\)"),
        (window("conv1d", padding="valid", dilation=4), SEQUENCE, "a window of 9 does not fit into 7"),
        (window("separable_conv2d"), SEQUENCE, "needs an image"),
        ({"kind": "group_normalization", "groups": 3}, IMAGE, "4 channels can't be dealt to 3 groups"),
        ({"kind": "attention", "heads": 3}, SEQUENCE, "4 values can't be dealt to 3 heads; give a divisor"),
        ({"kind": "reshape", "shape": [5, 2]}, TABLE, r"shape \[5, 2\] has 10 values, got 12 of shape"),
        (
            {"kind": "residual", "layers": [{"kind": "dense", "units": 5}]},
            TABLE,
            r"layers.0 \(residual\): what is added must have one shape, found \(12,\) and \(5,\)",
        ),
        (
            {"kind": "residual", "layers": [{"kind": "flatten"}, window("conv1d")]},
            SEQUENCE,
            r"layers.0 \(residual\): layers.1 \(conv1d\): needs a sequence",
        ),
        (
            {"kind": "parallel", "branches": [[], [window("conv1d", strides=2)]]},
            SEQUENCE,
            r"branches of shapes \(7, 4\) and \(4, 4\) differ in more than the last axis",
        ),
        (
            {"kind": "parallel", "branches": [[], [EMBEDDING]]},
            SEQUENCE,
            r"layers.0 \(parallel\): takes the tokens of a text",
        ),
    ],
    ids=str,
)
def test_a_layer_that_does_not_fit_is_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        output_shape(layers(layer), input_shape=shape)


def test_a_number_in_nested_layers_is_as_strict_as_elsewhere():
    with pytest.raises(ValidationError, match="valid integer"):
        layers({"kind": "residual", "layers": [{"kind": "parallel", "branches": [[], [EMBEDDING | {"units": True}]]}]})


ONE_OF_EACH = [
    [{"kind": "global_average_pooling1d"}],
    [{"kind": "global_max_pooling1d"}],
    [{"kind": "recurrent", "cell": "lstm", "units": 3, "bidirectional": True, "return_sequences": False}],
    [
        {"kind": "position_embedding"},
        RESIDUAL,
        {"kind": "recurrent", "cell": "gru", "units": 3, "bidirectional": True},
        {"kind": "global_average_pooling1d"},
    ],
]


@pytest.mark.parametrize("after", ONE_OF_EACH, ids=str)
def test_padding_of_a_text_counts_for_nothing(after):
    model = Model(layers=layers(EMBEDDING, *after))
    short, long = (build(model, input_shape=(length,), output=Output(3), tokens=7) for length in (3, 6))
    weights = short.get_weights()
    for place, (one, other) in enumerate(zip(weights, long.get_weights(), strict=True)):
        if one.shape != other.shape:  # vectors of the places that are padding
            weights[place] = np.concatenate([one, other[3:]])
    long.set_weights(weights)
    texts = np.array([[2, 3, 6], [4, 0, 0], [0, 0, 0]], np.float32)
    padded = long(np.pad(texts, ((0, 0), (0, 3)))).numpy()
    np.testing.assert_allclose(padded, short(texts).numpy(), rtol=1e-4, atol=1e-5)
    assert np.isfinite(padded).all()


TRANSFORMER = [
    EMBEDDING,
    {"kind": "position_embedding"},
    {"kind": "residual", "layers": [{"kind": "attention", "heads": 2, "causal": True}]},
    {"kind": "residual", "layers": [{"kind": "dense", "units": 4, "each_place": True}]},
    window("conv1d", padding="causal"),
]


def test_causal_layers_see_nothing_of_what_comes_later():
    model = Model(layers=layers(*TRANSFORMER))
    check_text(model, length=5, each_token=True)
    core = build(model, input_shape=(5,), output=Output(7, per_token=True), tokens=7)
    one, other = (core(np.array([ids], np.float32)).numpy() for ids in ([2, 3, 4, 5, 6], [2, 3, 6, 6, 2]))
    np.testing.assert_allclose(one[:, :2], other[:, :2], rtol=1e-5, atol=1e-6)
    assert not np.allclose(one[:, 2:], other[:, 2:])


@pytest.mark.parametrize(
    "layer",
    [
        {"kind": "attention", "heads": 2},
        window("conv1d"),
        {"kind": "recurrent", "cell": "gru", "units": 2, "bidirectional": True},
        RESIDUAL,
    ],
    ids=str,
)
def test_a_layer_that_would_see_the_tokens_to_predict_is_refused(layer):
    with pytest.raises(ValueError, match="sees later tokens, which the label next_token has to predict"):
        check_text(Model(layers=layers(EMBEDDING, layer)), length=5, each_token=True)


def test_a_name_becomes_that_of_the_keras_layer():
    core = build(
        Model(layers=layers({"kind": "dense", "units": 3, "name": "first"})), input_shape=(2,), output=Output(3)
    )
    assert core.get_layer("first").units == 3
