"""Adam in one operation gives what Keras's Adam gives."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.training.optimization.adam import FusedAdam


def _update(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> Callable[[list[tf.Tensor]], None]:
    return tf.function(lambda gradients: optimizer.apply(gradients, variables))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1},
        {"global_clipnorm": 0.5, "gradient_accumulation_steps": 2},
    ],
)
def test_equals_keras_after_each_of_several_steps(settings):
    generator = np.random.default_rng(0)
    begin = [generator.normal(size=shape).astype(np.float32) for shape in ((7, 3), (3,))]
    optimizers = [keras.optimizers.Adam(0.02, **settings), FusedAdam(0.02, **settings)]
    variables = [[keras.Variable(value, name="weights") for value in begin] for _ in optimizers]
    apply = [_update(optimizer, own) for optimizer, own in zip(optimizers, variables, strict=True)]
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.build(own)
    for _ in range(6):
        gradients = [tf.constant(generator.normal(size=value.shape).astype(np.float32)) for value in begin]
        for update in apply:
            update(gradients)
        for one, other in zip(*variables, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)
    names = [[variable.name for variable in optimizer.variables] for optimizer in optimizers]
    assert names[0] == names[1]


def test_squares_each_row_of_a_sparse_gradient_as_keras_does():
    optimizers = [keras.optimizers.Adam(0.02), FusedAdam(0.02)]
    tables = [keras.Variable(np.ones((5, 2), np.float32), name="table") for _ in optimizers]
    for optimizer, table in zip(optimizers, tables, strict=True):
        optimizer.build([table])
        update = _update(optimizer, [table])
        for number in (1.0, -2.0):
            rows = tf.constant([[1.0, number], [3.0, 0.5], [0.1, 0.2]])
            update([tf.IndexedSlices(rows, tf.constant([3, 0, 3]), tf.constant([5, 2]))])
    np.testing.assert_allclose(tables[1].numpy(), tables[0].numpy(), rtol=1e-6)
