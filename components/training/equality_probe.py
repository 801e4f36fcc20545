"""One small step on all workers, compared with the same step of one process, before a training begins.

What several workers make of a model can't be read off it: a loss may compare the examples of its batch with each other,
a layer may keep averages of them. So it is tried. Gradients are compared as the optimizers are given them, since an
optimizer such as Adam makes a whole step of what is almost nothing; then the figures, and what layers keep themselves.

How much is rounding differs from model to model: where a ReLU or a pooling decides between almost equal values, a
gradient jumps. (Of GoogLeNet, plain Keras changes gradients by 2 % when the examples of a batch are put in another
order.) So it is measured: one process makes the step once more, with weights changed by a few units of rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.training.batches import Windows
from headrace.components.training.feeding.batch_source import BatchSource
from headrace.components.training.feeding.feed import serve_evaluation
from headrace.components.training.multiworker import trained_by_all_workers, worker_dataset
from headrace.components.training.plan import Plan
from headrace.components.training.workers.attribute_override import Override, overridden
from headrace.components.training.workers.dropout import GlobalBatch
from headrace.components.training.workers.exchange import Exchange
from headrace.components.training.workers.owned_optimizers import owned_optimizers

EXAMPLES_PER_WORKER = 16  # and one more in all, so that the workers' parts differ in size
TOLERANCE, LOW_PRECISION_TOLERANCE = 1e-3, 1e-1  # of the norm, or of the value
ROUNDING = 1e-6  # what weights are changed by, of their size: some units of float32's rounding
ROUNDINGS = 20.0  # how much more than that change makes is still rounding
_FREQUENCIES = (1.0, 1.4142135, 1.7320508)
_PERIOD = 104_729  # a prime, small enough for float32

Trained = tuple[keras.Model, Callable[[Any], Any]]  # a compiled model, and how it takes the features of a batch


class Outcome(NamedTuple):
    """What a step came to: by variable, three weighted sums of its gradient and its norm; figures; layers' state."""

    gradients: dict[str, NDArray[np.float64]]
    figures: dict[str, float]
    states: dict[str, NDArray[Any]]


def probe_differences(
    make: Callable[[GlobalBatch], Trained],
    split: BatchSource,
    exchange: Exchange,
    *,
    plan: Plan,
    is_low_precision: bool = False,
) -> list[str]:
    """What differs between a step of all workers and one of a single process, in words; empty where it is rounding.

    Every worker calls it at the same point; `make` is called three times, with the same random seed.
    """
    examples = split.first_examples(EXAMPLES_PER_WORKER * exchange.num_workers + 1)
    windows = Windows(examples.examples, examples.examples)

    def outcome(rank: int, num_workers: int, group: Exchange | None, *, rounded: bool = False) -> Outcome:
        keras.utils.clear_session()  # generated names count up: both models are to have the same
        keras.utils.set_random_seed(plan.seed)
        batch = GlobalBatch(windows, seed=plan.seed, rank=rank, num_workers=num_workers)
        with exchange.strategy.scope() if group else nullcontext():
            model, takes = make(batch)
            model.optimizer.build(model.trainable_variables)
        if rounded:
            _round_otherwise(model)
        batches = serve_evaluation(examples, windows, rank=rank, num_workers=num_workers)
        batches = batches.map(lambda features, *others: (takes(features), *others))
        return _one_step(model, batches, batch, group, plan)

    of_all = outcome(exchange.rank, exchange.num_workers, exchange)
    of_one, of_rounded = outcome(0, 1, None), outcome(0, 1, None, rounded=True)
    keras.utils.clear_session()
    is_low_precision = is_low_precision or plan.gradient_compression != "none"
    tolerance = LOW_PRECISION_TOLERANCE if is_low_precision else TOLERANCE
    return [*_compared(of_all, of_one, of_rounded, tolerance=tolerance)]


def _round_otherwise(model: keras.Model) -> None:
    """Change each weight by up to `ROUNDING` of its size."""
    draws = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable * (1 + ROUNDING * draws.uniform(-1, 1, variable.shape)))


def _one_step(
    model: keras.Model, batches: tf.data.Dataset, batch: GlobalBatch, group: Exchange | None, plan: Plan
) -> Outcome:
    sums: dict[str, tf.Variable] = {}
    shared = (
        trained_by_all_workers(
            model,
            group,
            steps_per_epoch=1,
            validation_steps=1,
            known=batch.place,
            allow_untested_keras=plan.allow_untested_keras,
        )
        if group
        else nullcontext()
    )
    with overridden(*(_recorded(one, sums) for one in _optimizers(model))), shared as steps:
        if steps is not None:
            batch.begin(0, steps)
        history = model.fit(worker_dataset(batches), steps_per_epoch=1, epochs=1, shuffle=False, verbose=0).history
    return Outcome(
        {path: values.numpy().astype(np.float64) for path, values in sums.items()},
        {name: float(values[0]) for name, values in history.items()},
        {variable.path: np.asarray(variable.numpy()) for variable in model.non_trainable_variables},
    )


def _optimizers(model: keras.Model) -> list[keras.Optimizer]:
    """The optimizers that a model applies; of a loss scaling, the one within."""
    return [getattr(one, "inner_optimizer", one) for one in owned_optimizers(model)]


def _recorded(optimizer: keras.Optimizer, sums: dict[str, tf.Variable]) -> Override:
    """An optimizer's `update_step`, which also keeps the sums of each gradient that it is given."""
    plain_update_step = optimizer.update_step

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        path = getattr(variable, "path", variable.name.removesuffix(":0"))  # TensorFlow's own variable, mostly
        if path not in sums:
            with tf.init_scope():
                sums[path] = tf.Variable(tf.zeros([len(_FREQUENCIES) + 1]), trainable=False)
        sums[path].assign(_sums(gradient))
        plain_update_step(gradient, variable, learning_rate)

    return optimizer, "update_step", update_step


def _sums(gradient: Any) -> tf.Tensor:
    """Sums of a gradient, float32[4], weighted by place, as a sparse one has them whose ids are repeated; its norm."""
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.reshape(tf.cast(gradient.values, tf.float32), [tf.shape(gradient.indices)[0], -1])
        width = tf.shape(values, tf.int64)[1]
        places = tf.cast(gradient.indices, tf.int64)[:, tf.newaxis] * width + tf.range(width)
    else:
        values = tf.reshape(tf.cast(gradient, tf.float32), [-1])
        places = tf.range(tf.size(values, tf.int64))
    at = tf.cast(places % _PERIOD, tf.float32)
    return tf.stack([*(tf.reduce_sum(values * tf.cos(at * one)) for one in _FREQUENCIES), tf.norm(values)])


def _compared(of_all: Outcome, of_one: Outcome, of_rounded: Outcome, *, tolerance: float) -> Iterator[str]:
    largest = max((norm for *_, norm in of_one.gradients.values()), default=0.0)
    for path in sorted(of_one.gradients.keys() | of_all.gradients.keys()):
        if path not in of_all.gradients or path not in of_one.gradients:
            yield f"the update of {path} is missing on {'several workers' if path in of_one.gradients else 'one'}"
            continue
        *expected, norm = of_one.gradients[path]
        found, rounded = of_all.gradients[path][:-1], of_rounded.gradients[path][:-1]
        scale = max(norm, 1e-3 * largest)
        if not _is_close(found, expected, tolerance * scale + _rounding(rounded, expected)):
            yield f"the gradient of {path}, by {_share(found, expected, scale)} of its norm"
    for name, value in of_one.figures.items():
        found_value, rounding = of_all.figures.get(name, np.nan), _rounding(of_rounded.figures[name], value)
        if not _is_close(found_value, value, tolerance * max(abs(value), 1e-3) + rounding):
            yield f"the figure {name}, {found_value:.4g} instead of {value:.4g}"
    for path, state in of_one.states.items():
        found_state = of_all.states[path]
        if state.dtype.kind == "f" and state.size:
            scale = max(float(np.max(np.abs(state))), 1e-3)
            is_same = _is_close(found_state, state, tolerance * scale + _rounding(of_rounded.states[path], state))
        else:
            is_same = np.array_equal(found_state, state)
        if not is_same:
            yield f"the state {path}, which a layer keeps itself"


def _rounding(rounded: Any, expected: Any) -> float:
    """The difference that may still be rounding."""
    return ROUNDINGS * float(np.nan_to_num(np.max(np.abs(np.subtract(rounded, expected)))))


def _is_close(found: Any, expected: Any, tolerance: float) -> bool:
    return bool(np.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True))


def _share(found: Any, expected: Any, scale: float) -> str:
    return f"{100 * float(np.max(np.abs(np.subtract(found, expected)))) / max(scale, 1e-30):.0f} %"


def explained(differences: list[str], *, num_workers: int) -> str:
    """A sentence on what differs, with the usual causes."""
    more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
    return (
        f"{num_workers} workers would not train as one process does: in a step of a few examples differ "
        f"{'; '.join(differences[:3])}{more}. Usual causes: a loss over pairs of examples (headrace.gather_batch has "
        "those of all workers), a layer that keeps averages of its batch, a regularizer that depends on the batch, "
        "a loss of an output with a mask that train_step calls and the model does not have as an attribute, NumPy's or "
        "Python's random numbers. Train with one worker to be sure"
    )
