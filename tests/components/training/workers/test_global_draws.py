"""What a step draws for its examples are the rows of what one process draws, which two workers have between them.

That trainings are equal by it is shown in test_equal_to_plain_keras.py.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.compatibility.tensorflow_internals import context
from headrace.components.errors import TrainingError
from headrace.components.training.workers.global_draws import drawn_by_all_workers, drawn_globally
from headrace.components.training.workers.group import Group
from headrace.components.training.workers.step import Step, plain

SEED = [3, 4]
PARTS = (slice(0, 2), slice(2, 5))  # of five examples, which two workers have


def drawn(draw: Callable[[tf.Tensor], Any], *, part: slice, num_workers: int = 2, model: Any = None) -> Any:
    """What `draw` gives in the step of the worker that has `part` of the batch."""
    model = model or keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    step = Step(Group(), SimpleNamespace(rank=0, num_workers=num_workers))
    passes = plain(
        model,
        drawn_by_all_workers(model, draw, step),
        step,
        known=lambda: (tf.constant(5, tf.int64), tf.constant(part.start, tf.int64)),
    )
    return tf.function(passes, autograph=False)(tf.ones([part.stop - part.start, 3])).numpy()


def looped(x: tf.Tensor) -> Any:
    noise = tf.TensorArray(tf.float32, size=2)
    return tf.while_loop(
        lambda i, _: i < 2,
        lambda i, noise: (i + 1, noise.write(i, tf.random.stateless_normal(tf.shape(x), [3, i]))),
        (0, noise),
    )[1].stack()


BY_EXAMPLE: dict[str, tuple[Callable[[tf.Tensor], Any], int]] = {
    "uniform": (lambda x: keras.random.uniform(tf.shape(x), seed=1), 0),
    "normal": (lambda x: keras.random.normal(tf.shape(x), seed=1), 0),
    "truncated normal": (lambda x: keras.random.truncated_normal(tf.shape(x), seed=1), 0),
    "integers": (lambda x: keras.random.randint((tf.shape(x)[0],), 0, 1000, seed=1), 0),
    "all integers": (lambda x: tf.random.stateless_uniform(tf.shape(x), SEED, None, None, tf.int32), 0),
    "gamma": (lambda x: keras.random.gamma(tf.shape(x), [1.0, 2.0, 3.0], seed=1), 0),
    "binomial": (lambda x: keras.random.binomial(tf.shape(x), 9.0, 0.5, seed=1), 0),
    "dropout": (lambda x: keras.random.dropout(x, 0.5, seed=1), 0),
    "the second axis": (lambda x: keras.random.dropout(tf.transpose(x), 0.5, seed=1), 1),
    "a loop over time": (looped, 1),
}


@pytest.mark.parametrize("name", BY_EXAMPLE)
def test_two_workers_have_the_rows_of_one(name):
    draw, axis = BY_EXAMPLE[name]
    whole = drawn(draw, part=slice(0, 5), num_workers=1)
    parts = [drawn(draw, part=part) for part in PARTS]
    np.testing.assert_array_equal(np.concatenate(parts, axis=axis), whole)


def test_what_is_not_of_examples_is_the_same_on_all():
    def draw(x: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform((2, 3), SEED) + 0 * x[0, 0]  # as many rows as the first worker has examples

    whole = drawn(draw, part=slice(0, 5), num_workers=1)
    for part in PARTS:
        np.testing.assert_array_equal(drawn(draw, part=part), whole)


def test_what_a_layer_has_drawn_for_its_own_rows_is_left_as_it_is():
    def draw(x: tf.Tensor) -> tf.Tensor:
        with drawn_globally():
            return tf.random.stateless_uniform(tf.shape(x), SEED)

    for part in PARTS:
        expected = tf.random.stateless_uniform([part.stop - part.start, 3], SEED)
        np.testing.assert_array_equal(drawn(draw, part=part), expected)


REFUSED: dict[str, tuple[Callable[[tf.Tensor], Any], str]] = {
    "a folded batch": (lambda x: tf.random.stateless_uniform([tf.size(x)], SEED), r"draws \(21,\) for a batch of 7"),
    "an unknown size": (lambda x: tf.random.stateless_uniform([tf.size(tf.unique(x[:, 0])[0])], SEED), "draws"),
    "parameters": (lambda x: tf.random.stateless_gamma(tf.shape(x), SEED, x), "parameters of its own"),
    "an order": (lambda x: keras.random.shuffle(x, seed=1), "shuffles the examples"),
    "a state": (lambda x: tf.random.normal([2]) + x[0, 0], r"a state of TensorFlow's \(RandomStandardNormal\)"),
    "a generator's state": (lambda x: GENERATOR.normal(tf.shape(x)), r"a state of TensorFlow's \(RngReadAndSkip\)"),
    "a loop over examples": (
        lambda x: tf.map_fn(lambda row: row + tf.random.stateless_uniform([3], SEED), x),
        "draws within a loop",
    ),
}
GENERATOR = tf.random.Generator.from_seed(1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_for_the_global_batch_is_refused(name):
    draw, reason = REFUSED[name]
    with pytest.raises(TrainingError, match=rf"{reason}.*; several workers can't draw this as one process does"):
        drawn(draw, part=PARTS[0])


def test_a_refusal_names_the_layer():
    class Shuffling(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return keras.random.shuffle(inputs, seed=1)

    model = keras.Sequential([keras.Input((3,)), Shuffling(name="mixed"), keras.layers.Dense(1)])
    with pytest.raises(TrainingError, match=r"^layer \S*mixed \(Shuffling\): \S+ shuffles the examples of a batch"):
        drawn(model, part=PARTS[0], model=model)


def test_a_function_that_was_traced_before_is_refused():
    @tf.function(autograph=False)
    def before(x: tf.Tensor) -> tf.Tensor:
        return x * tf.random.stateless_uniform(tf.shape(x), SEED)

    before.get_concrete_function(tf.TensorSpec([None, 3]))
    with pytest.raises(TrainingError, match=r"draws in a tf\.function that was traced before"):
        drawn(before, part=PARTS[0])


def test_one_worker_is_left_to_keras_and_nothing_stays_in_tensorflow():
    def draw(x: tf.Tensor) -> Any:
        callbacks.append(len(context.context().op_callbacks))
        return keras.random.uniform(tf.shape(x), seed=1)

    callbacks: list[int] = []
    step = Step(Group(), SimpleNamespace(rank=0, num_workers=1))
    assert drawn_by_all_workers(SimpleNamespace(), draw, step) is draw
    drawn(draw, part=slice(0, 5), num_workers=1)
    drawn(draw, part=PARTS[0])
    assert callbacks == [0, 1, 1], "in the second trace, too"
    assert context.context().op_callbacks == []
