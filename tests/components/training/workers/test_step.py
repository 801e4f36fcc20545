"""One step of two workers whose parts differ in size: both apply the gradient of the mean over all examples."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.training.workers.attribute_override import overridden
from headrace.components.training.workers.group import Group
from headrace.components.training.workers.step import Step, optimizer_overrides, plain

EXAMPLES = ([1.0, 2.0, 6.0], [11.0])  # of each worker; the gradient is their mean


class Exchange:
    """Sums over two threads."""

    num_workers, strategy = 2, tf.distribute.get_strategy()

    def __init__(self, rank: int, vectors: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self._vectors, self._barrier = rank, vectors, barrier

    def sum(self, vector: tf.Tensor, *, exact: bool = False) -> tf.Tensor:
        self._vectors[self.rank] = vector
        self._barrier.wait()
        total = tf.add_n(self._vectors)
        self._barrier.wait()
        return total


def steps(*, scales_loss: bool, loss_scale: float | None = None) -> list[tuple[float, bool]]:
    """Each worker's weight after a step from zero at a learning rate of 1, and whether it heard of the wish to stop."""
    vectors, barrier = [None, None], threading.Barrier(2, timeout=60)

    def work(rank: int) -> tuple[float, bool]:
        optimizer: Any = keras.optimizers.SGD(1.0)
        if loss_scale is not None:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=loss_scale)
        weight, exchange = keras.Variable(0.0), Exchange(rank, vectors, barrier)
        optimizer.build([weight])
        step = Step(Group(), exchange, began=tf.timestamp(), request=tf.constant(float(rank == 1)))

        def train_step(data: Any) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(weight * data)
                loss = optimizer.scale_loss(loss) if scales_loss else loss
            optimizer.apply(tape.gradient(loss, [weight.value]), [weight])

        model = SimpleNamespace(optimizer=optimizer, _compile_loss=None, _flatten_layers=list, metrics=[])
        with overridden(*optimizer_overrides(optimizer, step)):
            plain(model, train_step, step)(tf.constant(EXAMPLES[rank]))
        step.group.heard = step.group.requests.numpy()
        return float(weight), step.group.asked_to_stop

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, range(2)))


@pytest.mark.parametrize("settings", [{"scales_loss": True}, {"scales_loss": False}], ids=["Keras's", "one's own"])
def test_a_train_step_weighs_parts_of_different_size_by_their_examples(settings):
    found = steps(**settings)
    np.testing.assert_allclose([weight for weight, _ in found], -np.mean(np.concatenate(EXAMPLES)), rtol=1e-6)


def test_so_does_one_whose_loss_is_scaled_for_float16():
    found = steps(scales_loss=True, loss_scale=8.0)
    np.testing.assert_allclose([weight for weight, _ in found], -np.mean(np.concatenate(EXAMPLES)), rtol=1e-6)


def test_what_one_worker_asks_for_all_hear():
    assert [heard for _, heard in steps(scales_loss=True)] == [True, True]
