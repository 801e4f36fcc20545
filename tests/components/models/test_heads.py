"""Auxiliary heads: in the loss of training, in nothing else."""

import keras
import numpy as np
import pytest

from headrace.components.models.heads import HEAD_WEIGHT, WithAuxiliaryHeads

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def model() -> WithAuxiliaryHeads:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    tensor = keras.layers.Dense(5, "relu", kernel_regularizer="l2", name="shared")(inputs)
    output = keras.layers.Dense(3, name="output")(keras.layers.Dense(5, name="late")(tensor))
    heads = [keras.layers.Dense(3, name=name)(tensor) for name in ("head_1", "head_2")]
    model = WithAuxiliaryHeads(keras.Model(inputs, output), keras.Model(inputs, [output, *heads]))
    model.compile("sgd", LOSS, metrics=["accuracy"])
    return model


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    weights = generator.uniform(0.5, 2, size=8).astype(np.float32)
    return generator.normal(size=(8, 4)).astype(np.float32), generator.integers(0, 3, size=8), weights


def test_heads_add_their_weighted_losses_to_that_of_training(model, batch):
    features, labels, weights = batch
    outputs = [np.asarray(output) for output in model.with_heads(features)]
    own, *others = (float(LOSS(labels, output, weights)) for output in outputs)
    regularization = float(sum(model.core.losses))
    trained = model.train_on_batch(features, labels, weights, return_dict=True)
    assert trained["loss"] == pytest.approx(own + regularization + HEAD_WEIGHT * sum(others), rel=1e-5)


def test_an_evaluation_is_that_of_the_core(model, batch):
    features, labels, weights = batch
    core = model.core
    core.compile("sgd", LOSS, metrics=["accuracy"])
    found = model.evaluate(features, labels, sample_weight=weights, verbose=0, return_dict=True)
    assert found == pytest.approx(core.evaluate(features, labels, sample_weight=weights, verbose=0, return_dict=True))


def test_weights_begin_with_those_of_the_core(model):
    assert [weight.path for weight in model.weights[:6]] == [weight.path for weight in model.core.weights]
    assert [weight.path.partition("/")[0] for weight in model.weights[6:]] == ["head_1"] * 2 + ["head_2"] * 2
