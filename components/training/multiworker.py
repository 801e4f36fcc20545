"""Keras 3's own `fit` and `evaluate` on several workers, each step equal to one process's to rounding.

Without GPUs each worker is a TensorFlow program of its own, which knows nothing of the others; what they exchange goes
along a ring (`workers/ring.py`). With GPUs it is MultiWorkerMirroredStrategy, where Keras 3 fails in
several places (keras#20585): it builds the model from a distributed batch, averages the metrics of a step along an axis
that scalars don't have, and merges replicas within conditions (gradient accumulation, moving averages of weights). It
is also wrong where the parts of a global batch differ in size: it averages the workers' averages. Nothing of Keras is
patched. Keras calls `model.train_function` where one is set, and `optimizer.apply` for every update: these and a few
more are set on the very objects and removed again.

How each figure is averaged:
- gradients: one sum over all workers, weighted by each worker's count of examples, divided by the global count; sparse
  ones, of embeddings, are gathered instead of summed, as plain Keras leaves ids that occur several times;
- loss and metrics of an epoch: each worker keeps totals and counts, and both are summed before they are divided;
- loss and metrics of a step, as callbacks see them: this worker's own running figures (no exchange, so no cost).

Class weights go into the dataset as sample weights, its third element. A custom `train_step` takes its loss from
`compute_loss` or a Keras loss object, and applies the gradients by optimizers that the model has as attributes. Numbers
that it returns and no metric has computed are averaged over the examples of an epoch's last step. What layers draw at
random is drawn for the global batch: see `headrace.components.training.workers.global_draws`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility import keras_internals, tensorflow_internals
from headrace.components.errors import TrainingError
from headrace.components.training.workers import equality
from headrace.components.training.workers.attribute_override import overridden
from headrace.components.training.workers.batch_place import Known
from headrace.components.training.workers.collectives import strategy_overrides
from headrace.components.training.workers.embedding import lookup_overrides
from headrace.components.training.workers.exchange import Exchange
from headrace.components.training.workers.global_draws import drawn_by_all_workers
from headrace.components.training.workers.group import Group, metric_overrides
from headrace.components.training.workers.masked_losses import masked_loss_overrides
from headrace.components.training.workers.normalization import moments_overrides
from headrace.components.training.workers.owned_optimizers import owned_optimizers
from headrace.components.training.workers.step import Step, compiled, count_examples, optimizer_overrides, plain
from headrace.components.training.workers.step_logs import Metrics, StepLogs, with_metrics_noted


@contextmanager
def trained_by_all_workers(
    model: keras.Model,
    exchange: Exchange,
    *,
    steps_per_epoch: int,
    validation_steps: int,
    known: Known | None = None,
    allow_untested_keras: bool = False,
) -> Iterator[Group]:
    """Make `model.fit` and `model.evaluate` those of all workers.

    `model` must be built and compiled within `exchange.strategy.scope()`. Data comes from `worker_dataset`. `known` is
    the place of a training batch within the global one (`GlobalBatch.place`); without it, that is exchanged. Raises
    TrainingError for a version of Keras this was not tested with and for several GPUs in one worker; and, of several
    workers, for what can't equal one process: as `fit` starts, losses that are not a mean over the batch, draws that
    can't be made for the global batch, and, compiled by XLA, BatchNormalization and outputs with a mask.
    """
    check_keras_version(allow_untested_keras=allow_untested_keras)
    equality.require_one_device()
    equality.require_synchronized_layers(model, num_workers=exchange.num_workers)
    with exchange.strategy.scope():
        model.optimizer.build(model.trainable_variables)
    step = Step(Group(), exchange)
    with overridden(
        (model, "train_function", _function(model, model.train_step, step, steps=steps_per_epoch, known=known)),
        (model, "test_function", _function(model, model.test_step, step, steps=validation_steps)),
        (model, keras_internals.MAYBE_SYMBOLIC_BUILD, lambda iterator: _build(model, exchange, iterator)),
        *metric_overrides(model, exchange),
        *(override for one in owned_optimizers(model) for override in optimizer_overrides(one, step)),
        *moments_overrides(model, exchange),
        *masked_loss_overrides(model, step),
        *lookup_overrides(model),
        *strategy_overrides(model),
    ):
        yield step.group


def check_keras_version(*, allow_untested_keras: bool = False) -> None:
    """Raise TrainingError for a version of Keras that this module was not tested with."""
    tested = keras_internals.TESTED_VERSIONS
    if keras.__version__ not in tested and not allow_untested_keras:
        raise TrainingError(
            f"multi-worker training was tested with Keras {', '.join(tested)}, found "
            f"{keras.__version__}; install a tested version, or set train.allow_untested_keras: true to continue anyway"
        )


def worker_dataset(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return `dataset`, this worker's own part of every global batch, without end, in the form that `fit` takes.

    The cardinality is stated as infinite because a strategy of TensorFlow's otherwise asks all workers at each step
    whether there is one more batch. Autotuning is off because its thread sleeps, the longer the training the longer, up
    to a minute, and the end of `fit` waits for it. A distributed dataset, which copies batches to a GPU ahead, has one
    more such thread, which no option turns off, and makes no step shorter.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).with_options(options)


def _build(model: keras.Model, exchange: Exchange, iterator: Any) -> None:
    """Build what `compile` left open, from the dataset's shapes and types."""
    with exchange.strategy.scope():
        keras_internals.build_from_batch(model, tensorflow_internals.batch_specification(iterator))
    equality.require_mean_losses(model, num_workers=exchange.num_workers)


def _function(
    model: keras.Model, step_function: Callable[[Any], Any], step: Step, *, steps: int, known: Known | None = None
) -> Callable[[Any], Any]:
    """Function that Keras calls once per execution: it runs one or more steps and gives this worker's metrics."""
    strategy = step.exchange.strategy
    metrics: Metrics = {}  # by the names of logs that they are the results of
    if metrics_are_noted := step.exchange.num_workers > 1:
        step_function = with_metrics_noted(model, step_function, metrics)
    step_function = drawn_by_all_workers(model, step_function, step)
    passes = (compiled if model.jit_compile else plain)(model, step_function, step, known)

    def one_step(iterator: Any, request: tf.Tensor) -> Any:
        step.request, step.began = request, tf.timestamp()
        with tf.control_dependencies([step.began]):
            data = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(data, expand_composites=True)):
            step.fed = tf.timestamp()
        logs = strategy.run(passes, args=(data,))
        logs = tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)
        return logs, count_examples(data)

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def execute(iterator: Any, count: tf.Tensor, request: tf.Tensor) -> Any:
        logs_and_examples = one_step(iterator, request)
        if model.steps_per_execution > 1:
            _, logs_and_examples = tf.while_loop(
                lambda done, _: done < count,
                lambda done, _: (done + 1, one_step(iterator, request)),
                (1, logs_and_examples),
                parallel_iterations=1,
            )
        return *logs_and_examples, step.group.requests.read_value()

    done = 0

    def function(iterator: Any) -> Any:
        nonlocal done
        count = min(model.steps_per_execution, steps - done)
        done = (done + count) % steps
        arguments = iterator, tf.constant(count), step.group.request()
        if step.group.once_traced is not None:
            execute.get_concrete_function(*arguments)
            step.group.once_traced()
            step.group.once_traced = None
        logs, examples, step.group.heard = execute(*arguments)
        return StepLogs(logs, metrics, examples) if metrics_are_noted and isinstance(logs, dict) else logs

    return function
