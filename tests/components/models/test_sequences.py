"""Models over texts: which can be built, what padding does to them, and what is saved of them."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from headrace.components.models.build import build, with_probabilities
from headrace.components.models.layers.any_layer import Layer
from headrace.components.models.output import Output
from headrace.components.models.settings import Model
from headrace.components.models.shapes import check_input, check_text, output_shape

KIND, NEXT = Output(3), Output(7, per_token=True)
EMBEDDING = {"kind": "embedding", "units": 3}
ONE_HOT = {"kind": "one_hot"}


def recurrent(cell="lstm", *, units=4, return_sequences=True):
    return {"kind": "recurrent", "cell": cell, "units": units, "return_sequences": return_sequences}


def model(*layers) -> Model:
    return Model(layers=TypeAdapter(tuple[Layer, ...]).validate_python(layers))


def ids(*texts):
    return np.array(texts, np.float32)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("first", [EMBEDDING, ONE_HOT], ids=["embedding", "one_hot"])
def test_next_tokens_have_probabilities_after_each_token(cell, first) -> None:
    core = with_probabilities(build(model(first, recurrent(cell)), input_shape=(5,), output=NEXT, tokens=7))
    outputs = core(ids([2, 3, 4, 5, 6], [2, 3, 6, 0, 0])).numpy()
    assert outputs.shape == (2, 5, 7)
    np.testing.assert_allclose(outputs.sum(axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(outputs[0, :2], outputs[1, :2], rtol=1e-5)  # what comes later is not seen


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("first", [EMBEDDING, ONE_HOT], ids=["embedding", "one_hot"])
def test_a_text_is_classified_by_its_last_token_whatever_padding_follows(cell, first) -> None:
    layers = model(first, recurrent(cell), recurrent(cell, return_sequences=False))
    short, long = (build(layers, input_shape=(length,), output=KIND, tokens=7) for length in (3, 6))
    long.set_weights(short.get_weights())
    expected = short(ids([2, 3, 6], [4, 0, 0], [0, 0, 0])).numpy()
    padded = long(ids([2, 3, 6, 0, 0, 0], [4, 0, 0, 0, 0, 0], [0] * 6)).numpy()
    np.testing.assert_allclose(padded, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([EMBEDDING], (5, 3)),
        ([ONE_HOT], (5, None)),
        ([EMBEDDING, recurrent()], (5, 4)),
        ([EMBEDDING, recurrent(return_sequences=False)], (4,)),
        ([EMBEDDING, {"kind": "dropout", "rate": 0.1}, recurrent(), {"kind": "flatten"}], (20,)),
    ],
)
def test_shapes_are_those_of_keras(layers, shape) -> None:
    settings = model(*layers)
    assert output_shape(settings.layers, input_shape=(5,), is_text=True) == shape
    built = build(settings, input_shape=(5,), output=KIND, tokens=7)
    before_last = built.layers[-1].input.shape[1:]
    flat = tuple(np.prod([size or 7 for size in shape], keepdims=True))
    assert tuple(before_last) == flat


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "the first layer over a text must be embedding or one_hot"),
        ([recurrent()], "the first layer over a text must be embedding or one_hot"),
        ([EMBEDDING, ONE_HOT], r"layers.1 \(one_hot\): takes the tokens of a text"),
        ([EMBEDDING, recurrent(return_sequences=False), recurrent()], r"layers.2 \(recurrent\): needs a sequence"),
        ([EMBEDDING, {"kind": "conv2d", "filters": 2, "kernel_size": 3}], r"layers.1 \(conv2d\): needs an image"),
        ([EMBEDDING, recurrent(return_sequences=False)], r"next_token needs values after each token"),
        ([EMBEDDING, recurrent(), {"kind": "dense", "units": 5}], r"gives shape \(5,\); keep the sequence"),
    ],
)
def test_a_model_that_can_t_take_a_text_is_refused_early(layers, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_text(model(*layers), length=5, each_token=True)


def test_tokens_are_of_texts_alone() -> None:
    with pytest.raises(ValueError, match=r"layers.0 \(embedding\): takes the tokens of a text"):
        check_input(model(EMBEDDING, recurrent(return_sequences=False)), input_shape=(None,))
    with pytest.raises(ValueError, match="must be embedding or one_hot"):
        check_text(Model(architecture={"kind": "lenet"}), length=5, each_token=False)
