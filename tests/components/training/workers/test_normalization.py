"""Batch normalization takes the moments of the whole batch in one exchange for each layer, and exactly.

That several workers give what plain Keras gives is shown in tests/components/training/test_multiworker.py.
"""

from typing import Any

import keras
import numpy as np
import pytest

from headrace.components.training.workers import normalization
from headrace.components.training.workers.attribute_override import overridden
from headrace.components.training.workers.exchange import Alone


def moments(layer: Any, inputs: Any, mask: Any = None) -> tuple[Any, Any]:
    model = keras.Sequential([keras.Input(inputs.shape[1:]), layer])
    with overridden(*normalization.moments_overrides(model, Alone())):
        mean, variance = layer._moments(keras.ops.convert_to_tensor(inputs), mask)
    return np.asarray(mean), np.asarray(variance)


def values(*shape: int) -> Any:
    return np.random.default_rng(1).normal(3, 2, size=shape).astype(np.float32)


@pytest.mark.parametrize(("axis", "reduced"), [(-1, (0, 1, 2)), (1, (0, 2, 3))])
def test_moments_are_those_of_all_but_the_channels(axis, reduced):
    inputs = values(8, 5, 5, 3)
    mean, variance = moments(keras.layers.BatchNormalization(axis=axis, synchronized=True), inputs)
    np.testing.assert_allclose(mean, inputs.mean(axis=reduced), rtol=1e-5)
    np.testing.assert_allclose(variance, inputs.var(axis=reduced), rtol=1e-4)


def test_what_is_masked_does_not_count():
    inputs, mask = values(8, 5, 3), np.random.default_rng(2).random((8, 5)) < 0.6
    mean, variance = moments(keras.layers.BatchNormalization(synchronized=True), inputs, mask)
    np.testing.assert_allclose(mean, inputs[mask].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance, inputs[mask].var(axis=0), rtol=1e-4)
    nothing = moments(keras.layers.BatchNormalization(synchronized=True), inputs, np.zeros_like(mask))
    assert [metrics.tolist() for metrics in nothing] == [[0, 0, 0], [0, 0, 0]]


def test_a_small_variance_far_from_zero_is_exact_once_the_moving_mean_is_near():
    inputs = values(512, 4) + np.float32(10_000)
    layer = keras.layers.BatchNormalization(synchronized=True)
    layer.build(inputs.shape)
    layer.moving_mean.assign(np.full(4, 10_000))
    _, variance = moments(layer, inputs)
    np.testing.assert_allclose(variance, inputs.astype(np.float64).var(axis=0), rtol=1e-4)
    as_keras = np.square(inputs).mean(axis=0) - np.square(inputs.mean(axis=0))
    assert np.abs(as_keras / variance - 1).max() > 1e-2, "or the shift is not needed any more"


def test_gradients_are_those_of_moments_that_are_not_shifted():
    import tensorflow as tf

    inputs, layer = tf.constant(values(16, 3)), keras.layers.BatchNormalization(synchronized=True)
    layer.build(inputs.shape)
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    model = keras.Sequential([keras.Input((3,)), layer])
    with overridden(*normalization.moments_overrides(model, Alone())), tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.reduce_sum(tf.square(layer(inputs, training=True)) * inputs)
    layer.moving_mean.assign([0.0, 0.0, 0.0])
    plain = keras.layers.BatchNormalization()
    with tf.GradientTape() as plain_tape:
        plain_tape.watch(inputs)
        plain_outputs = tf.reduce_sum(tf.square(plain(inputs, training=True)) * inputs)
    np.testing.assert_allclose(tape.gradient(outputs, inputs), plain_tape.gradient(plain_outputs, inputs), atol=1e-4)


def test_a_layer_has_one_exchange(monkeypatch):
    exchanged = []

    def counted(sums: Any, *, exchange: Any) -> Any:
        exchanged.append(sums.shape.as_list())
        return sums

    monkeypatch.setattr(normalization, "sum_with_gradient", counted)
    moments(keras.layers.BatchNormalization(synchronized=True), values(8, 5, 5, 7))
    assert exchanged == [[3, 7]]


def test_a_layer_that_is_not_synchronized_is_left_to_keras():
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    assert normalization.moments_overrides(model, Alone()) == []
