"""One step as each worker runs it: its own passes, then the update by the gradients of the global batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import layers_that_draw, loss_trackers
from headrace.components.errors import TrainingError
from headrace.components.training.workers.attribute_override import Override, overridden
from headrace.components.training.workers.batch_place import BatchPlace, Known
from headrace.components.training.workers.exchange import (
    Exchange,
    Gradient,
    map_values,
    sum_over_workers,
    sum_with_gradient,
)
from headrace.components.training.workers.group import Group
from headrace.components.training.workers.owned_optimizers import owned_optimizers

StepFunction = Callable[[Any], Any]


@dataclass
class Step:
    """What the gradient exchange has to know of the step that is being traced.

    `weight` is this worker's weight in the mean over all, float32[], `place` is where its examples are in the global
    batch. `updates` holds what the step function would have applied, and by which optimizer, if it must not
    exchange itself.
    """

    group: Group
    exchange: Exchange
    began: tf.Tensor | None = None
    fed: tf.Tensor | None = None
    request: tf.Tensor | None = None
    weight: tf.Tensor | None = None
    place: BatchPlace = field(init=False)
    weighted_by: set[int] = field(default_factory=set)  # the optimizers, by `id`, whose loss has the weight
    is_recorded: bool = False  # an exchange has counted the step, whose train_step may have more of them
    updates: list[tuple[keras.optimizers.Optimizer, list[Any], Any]] | None = None
    weights_masks: bool = False  # the losses of outputs with a mask are weighted by it already

    @property
    def loss_is_weighted(self) -> bool:
        """Whether a loss has this worker's weight already, which its gradients then have."""
        return bool(self.weighted_by)

    def begin(self, weight: tf.Tensor, place: BatchPlace) -> None:
        """Begin to trace a step of such a weight and place."""
        self.weight, self.place = weight, place
        self.weighted_by, self.is_recorded = set(), False


_CURRENT: ContextVar[Step | None] = ContextVar("current_step", default=None)


def current_step() -> Step | None:
    """The step that is being traced, for what a loss or layer exchanges; None outside of a training of Headrace's."""
    return _CURRENT.get()


@contextmanager
def _current(step: Step) -> Iterator[None]:
    token = _CURRENT.set(step)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def plain(model: keras.Model, step_function: StepFunction, step: Step, known: Known | None = None) -> StepFunction:
    """Return `step_function`, Keras's or one's own, within the global batch, whose size and place may be `known`."""

    def passes(data: Any) -> Any:
        data = _with_open_size(data, step.exchange)
        step.begin(_weight(model, data, step.exchange), BatchPlace(count_examples(data), step.exchange, known))
        given = (step.group, "steps_given", step.group.steps_done())  # the first of several updates counts the step
        with _current(step), overridden(given, *_tracker_overrides(model, data, step)):
            return step_function(data)

    return passes


def compiled(model: keras.Model, step_function: StepFunction, step: Step, known: Known | None = None) -> StepFunction:
    """Return `step_function` compiled by XLA; the exchange and the update follow outside of what is compiled.

    TensorFlow has no exchange for XLA on CPU ("Collectives are not yet implemented for CPU devices").
    """
    optimizer: Any = None
    variables: Any = None
    has_own_step = type(model).train_step is not keras.Model.train_step
    needs_place = step.exchange.num_workers > 1 and (has_own_step or bool(layers_that_draw(model)))

    @tf.function(jit_compile=True, reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def passes(data: Any, weight: tf.Tensor, steps_done: tf.Tensor, place: Any) -> Any:
        nonlocal optimizer, variables
        step.begin(weight, BatchPlace(count_examples(data), step.exchange, _given(place)))
        step.updates = []
        given = (step.group, "steps_given", steps_done)
        with _current(step), overridden(given, *_tracker_overrides(model, data, step)):
            logs = step_function(data)
        updates, step.updates = step.updates, None
        if len(updates) > 1:
            raise TrainingError("train_step updates weights more than once, expected once with jit_compile=True")
        optimizer, gradients, variables = updates[0] if updates else (None, [], None)
        return logs, gradients

    def passes_then_update(data: Any) -> Any:
        data = _with_open_size(data, step.exchange)
        weight = _weight(model, data, step.exchange)
        place = None
        if needs_place:
            with tf.device("CPU"):
                examples, first_row = BatchPlace(count_examples(data), step.exchange, known).of_global_batch()
                place = tf.zeros([examples], tf.uint8), first_row  # XLA knows shapes as it compiles, and no values
        logs, gradients = passes(data, weight, step.group.steps_done(), place)
        step.weight, step.is_recorded = weight, False
        if gradients:
            optimizer.apply(gradients, variables)
        return logs

    return passes_then_update


def _given(place: tuple[tf.Tensor, tf.Tensor] | None) -> Known:
    def known() -> tuple[tf.Tensor, tf.Tensor]:
        if place is None:
            raise TrainingError(
                "a layer draws without a keras.random.SeedGenerator of its own, or a keras.metrics.Mean takes a number "
                "without weights, which several workers can't with jit_compile=True; give the layer one, and the "
                "metric the number of examples"
            )
        whole, first_row = place
        return tf.shape(whole)[0], first_row

    return known


def _with_open_size(data: Any, exchange: Exchange) -> Any:
    """Batch of the same examples whose number is not known as a step is traced, as most data sets give them.

    It shows which tensors have an axis of examples. One worker's is as it is.
    """

    def opened(tensor: Any) -> Any:
        if not isinstance(tensor, tf.Tensor) or not tensor.shape.rank or tensor.shape[0] is None:
            return tensor
        return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])

    return data if exchange.num_workers == 1 else tf.nest.map_structure(opened, data)


def optimizer_overrides(optimizer: keras.optimizers.Optimizer, step: Step) -> list[Override]:
    """Overrides that make an optimizer see the loss and the gradients of the global batch."""
    plain_scale_loss, plain_apply = optimizer.scale_loss, optimizer.apply

    def scale_loss(loss: tf.Tensor) -> tf.Tensor:
        # On the loss, not on the gradients: a synchronized layer mixes the workers' losses in its backward pass.
        step.weighted_by.add(id(optimizer))
        return plain_scale_loss(loss) * tf.cast(_loss_weight(step), loss.dtype)

    def apply(grads: Sequence[tf.Tensor | None], trainable_variables: Any = None) -> Any:
        if step.updates is not None:
            return step.updates.append((optimizer, list(grads), trainable_variables))
        # Before Keras clips or accumulates them, so that both see the gradients of the global batch.
        is_weighted = id(optimizer) in step.weighted_by
        return plain_apply(_global_gradients(grads, step, is_weighted=is_weighted), trainable_variables)

    return [(optimizer, "scale_loss", scale_loss), (optimizer, "apply", apply)]


def _weight(model: keras.Model, data: Any, exchange: Exchange) -> tf.Tensor:
    """The worker's weight in the mean over all: its examples, or, where losses are scaled, its share of all."""
    examples = count_examples(data)
    if not any(isinstance(one, keras.optimizers.LossScaleOptimizer) for one in owned_optimizers(model)):
        return examples
    # Sums instead of means would overflow float16 at loss scales where Keras's own don't: one small exchange more.
    return examples / sum_with_gradient(examples, exchange=exchange)


def count_examples(data: Any) -> tf.Tensor:
    """Return float32[], the number of examples of a batch."""
    with tf.device("CPU"):  # what the CPU needs later: of a GPU it would have to wait for all that is under way
        return tf.cast(tf.shape(tf.nest.flatten(data)[0])[0], tf.float32)


def _loss_weight(step: Step) -> tf.Tensor:
    """The factor for a loss that Keras has divided by the replicas of its strategy."""
    return step.weight * tf.distribute.get_replica_context().num_replicas_in_sync


def _tracker_overrides(model: keras.Model, data: Any, step: Step) -> list[Override]:
    """What weights each of several outputs' losses by the examples: Keras does so for batches of fixed size only.

    And, on several workers, what makes a mean of a step's own figures, such as its loss, count the step as one.
    """

    def weighted(plain_update: Callable[..., Any]) -> Callable[..., Any]:
        return lambda loss, sample_weight=None: plain_update(loss, sample_weight=count_examples(data))  # noqa: ARG005

    def shared(plain_update: Callable[..., Any]) -> Callable[..., Any]:
        def update_state(values: Any, sample_weight: Any = None) -> Any:
            if sample_weight is None and len(getattr(values, "shape", ())) == 0:
                sample_weight = step.place.share()
            return plain_update(values, sample_weight=sample_weight)

        return update_state

    trackers = loss_trackers(model)
    overrides = [(tracker, "update_state", weighted(tracker.update_state)) for tracker in trackers]
    if step.exchange.num_workers > 1:
        own = [one for one in model.metrics if type(one) is keras.metrics.Mean and one not in trackers]
        overrides += [(mean, "update_state", shared(mean.update_state)) for mean in own]
    return overrides


def _global_gradients(gradients: Sequence[Gradient | None], step: Step, *, is_weighted: bool) -> list[Gradient | None]:
    """The gradients of the mean loss over the global batch; weights and requests to stop travel with them.

    Those of embeddings stay sparse: Keras's optimizers treat an id that occurs twice otherwise than a dense gradient.
    """
    # A custom train_step may not call optimizer.scale_loss; then its gradients are weighted here.
    weight = 1.0 if is_weighted else _loss_weight(step)
    present = [gradient for gradient in gradients if gradient is not None]
    weighted = [map_values(lambda values: tf.cast(values, tf.float32) * weight, gradient) for gradient in present]
    with tf.control_dependencies(weighted):
        seconds = tf.timestamp() - step.began
    with tf.device("CPU"):
        own_figures = tf.stack([step.weight, step.request])
    sums, figures = sum_over_workers(weighted, own_figures, exchange=step.exchange)
    if not step.is_recorded:
        step.is_recorded = True
        with tf.control_dependencies([seconds, *tf.nest.flatten((sums, figures), expand_composites=True)]):
            exchange_seconds = tf.timestamp() - step.began - seconds
        feeding_seconds = 0.0 if step.fed is None else step.fed - step.began
        step.group.record(
            seconds=seconds,
            requests=figures[1],
            feeding_seconds=feeding_seconds,
            exchange_seconds=exchange_seconds,
        )

    def mean(part: Gradient, own: Gradient) -> Gradient:
        return map_values(lambda values: tf.cast(values / figures[0], own.dtype), part)

    reduced = iter(map(mean, sums, present))
    return [None if gradient is None else next(reduced) for gradient in gradients]
