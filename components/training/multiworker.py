"""Keras 3's own `fit` and `evaluate` under MultiWorkerMirroredStrategy, equal to one process.

Keras 3 fails here in two places (keras#20585): it builds the model from a distributed batch, and it averages the
metrics of a step along an axis that scalars don't have. It is also wrong where the parts of a global batch differ in
size: it averages the workers' averages. Nothing of Keras is patched to mend this. Keras calls `model.train_function`
where one is set, and `optimizer.apply` for every update: both are set on the one model and removed again.

How each figure is averaged:
- gradients: one sum over all workers, weighted by each worker's count of examples, divided by the global count;
- loss and metrics of an epoch: Keras keeps totals and counts per worker, and sums both before it divides;
- loss and metrics of a step, as callbacks see them: this worker's own running figures (no exchange, so no cost).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from components.errors import TrainingError
from components.training.exchange import sum_over_workers

TESTED_KERAS_VERSIONS = ("3.15.1",)
Override = tuple[Any, str, Callable[..., Any]]


@dataclass
class _Step:
    """What the gradient exchange has to know of the step that is being traced."""

    local_examples: tf.Tensor | None = None
    loss_is_weighted: bool = False


@contextmanager
def trained_by_all_workers(
    model: keras.Model, *, steps_per_epoch: int, validation_steps: int, allow_untested_keras: bool = False
) -> Iterator[None]:
    """Make `model.fit` and `model.evaluate` right under the strategy that the model was compiled in.

    `model` must be built and compiled within `strategy.scope()`, with losses that average over the batch (Keras's
    default). Data comes from `worker_dataset`. Raises TrainingError for a version of Keras this was not tested with.
    """
    check_keras_version(allow_untested_keras=allow_untested_keras)
    step = _Step()
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)
    model.train_function = _function(model, model.train_step, step, steps=steps_per_epoch)
    model.test_function = _function(model, model.test_step, step, steps=validation_steps)
    try:
        with _overridden(
            *_optimizer_overrides(model.optimizer, step), (model, "_maybe_symbolic_build", lambda **_: None)
        ):
            yield
    finally:
        model.train_function = model.test_function = None


def check_keras_version(*, allow_untested_keras: bool = False) -> None:
    """Raise TrainingError for a version of Keras that this module was not tested with."""
    if keras.__version__ not in TESTED_KERAS_VERSIONS and not allow_untested_keras:
        raise TrainingError(
            f"multi-worker training was tested with Keras {', '.join(TESTED_KERAS_VERSIONS)}, found "
            f"{keras.__version__}; install a tested version, or set train.allow_untested_keras: true to go on anyway"
        )


def _optimizer_overrides(optimizer: keras.optimizers.Optimizer, step: _Step) -> list[Override]:
    """What makes an optimizer see the loss and the gradients of the global batch."""
    plain_scale_loss, plain_apply = optimizer.scale_loss, optimizer.apply

    def scale_loss(loss: tf.Tensor) -> tf.Tensor:
        # On the loss, not on the gradients: a synchronized layer mixes the workers' losses in its backward pass.
        step.loss_is_weighted = True
        return plain_scale_loss(loss) * tf.cast(_weight(step), loss.dtype)

    def apply(grads: Sequence[tf.Tensor | None], trainable_variables: Any = None) -> Any:
        # Before Keras clips or accumulates them, so that both see the gradients of the global batch.
        return plain_apply(_global_gradients(grads, step), trainable_variables)

    innermost = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision wraps the optimizer
    return [
        (optimizer, "scale_loss", scale_loss),
        (optimizer, "apply", apply),
        (innermost, "_all_reduce_sum_gradients", list),
    ]


@contextmanager
def _overridden(*overrides: Override) -> Iterator[None]:
    """Set attributes of these very objects, never of their classes, for the length of the block."""
    for owner, name, function in overrides:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, _ in overrides:
            delattr(owner, name)


def worker_dataset(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset) -> Any:
    """Return `dataset`, this worker's own part of every global batch, without end, in the form that `fit` takes.

    The cardinality is stated as infinite because TensorFlow otherwise asks all workers at each step whether there is
    one more batch. Autotuning is off because its thread sleeps, the longer the training the longer, up to a minute, and
    the end of `fit` waits for it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    endless = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).with_options(options)
    to_device = tf.distribute.InputOptions(experimental_fetch_to_device=bool(tf.config.list_logical_devices("GPU")))
    return strategy.distribute_datasets_from_function(lambda _: endless, to_device)


def _function(
    model: keras.Model, step_function: Callable[[Any], Any], step: _Step, *, steps: int
) -> Callable[[Any], Any]:
    """Return what Keras calls once per execution: it runs one or more steps and gives this worker's metrics."""
    strategy = model.distribute_strategy

    def one_step(data: Any) -> Any:
        step.local_examples, step.loss_is_weighted = tf.shape(tf.nest.flatten(data)[0])[0], False
        return step_function(data)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def execute(iterator: Any, count: tf.Tensor) -> Any:
        logs = strategy.run(one_step, args=(next(iterator),))
        for _ in tf.range(count - 1):
            logs = strategy.run(one_step, args=(next(iterator),))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)

    done = 0

    def function(iterator: Any) -> Any:
        nonlocal done
        count = min(model.steps_per_execution, steps - done)
        done = (done + count) % steps
        return execute(iterator, tf.constant(count))

    return function


def _weight(step: _Step) -> tf.Tensor:
    """Return the factor that makes this worker's mean, which Keras divides by the number of workers, its sum."""
    replica = tf.distribute.get_replica_context()
    if replica is None or step.local_examples is None:
        return tf.constant(1.0)
    return tf.cast(step.local_examples * replica.num_replicas_in_sync, tf.float32)


def _global_gradients(gradients: Sequence[tf.Tensor | None], step: _Step) -> list[tf.Tensor | None]:
    """Return the gradients of the mean loss over the global batch; the count of examples travels with them."""
    replica = tf.distribute.get_replica_context()
    if replica is None or step.local_examples is None:
        return list(gradients)
    # A custom train_step may not call optimizer.scale_loss; then its gradients are weighted here.
    weight = 1.0 if step.loss_is_weighted else _weight(step)
    present = [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]
    weighted = [tf.cast(gradient, tf.float32) * weight for gradient in present]
    sums, figures = sum_over_workers(weighted, tf.cast([step.local_examples], tf.float32))
    reduced = iter(tf.cast(part / figures[0], gradient.dtype) for part, gradient in zip(sums, present, strict=True))
    return [None if gradient is None else next(reduced) for gradient in gradients]
