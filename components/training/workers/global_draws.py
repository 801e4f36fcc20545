"""What any layer draws at random for its examples, drawn for the global batch: each worker takes its own rows.

Keras draws by TensorFlow's stateless operations, from the state of a `SeedGenerator` that all workers share. So the
same operation, with the shape of the global batch, gives every worker what one process would have drawn. The operations
are exchanged while the step is traced, in this step alone: nothing of Keras or TensorFlow is patched. What is drawn for
something else than examples, such as weights, is the same on all workers as it is.

The shape of a draw says which of its axes is the batch's: the one that is open in the step, where the size of a batch
is not known, and has that size where the step is traced a second time, for batches of a known one. What can't be drawn
for the global batch is refused before the first step.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from headrace.components.compatibility.keras_internals import flat_layers
from headrace.components.compatibility.tensorflow_internals import (
    Operation,
    called_operations,
    is_within_loop,
    operations_seen,
)
from headrace.components.errors import TrainingError
from headrace.components.training.workers.attribute_override import overridden
from headrace.components.training.workers.step import Step, StepFunction

# Operations whose first input is the shape of what they draw, by the names of their inputs.
_BY_SHAPE = {
    "StatelessRandomUniformV2": ("shape", "key", "counter", "alg"),
    "StatelessRandomNormalV2": ("shape", "key", "counter", "alg"),
    "StatelessTruncatedNormalV2": ("shape", "key", "counter", "alg"),
    "StatelessRandomUniformFullIntV2": ("shape", "key", "counter", "alg"),
    "StatelessRandomUniformIntV2": ("shape", "key", "counter", "alg", "minval", "maxval"),
    "StatelessRandomGammaV3": ("shape", "key", "counter", "alg", "alpha"),
    "StatelessRandomBinomial": ("shape", "seed", "counts", "probs"),
}
_WITH_TYPE = (*list(_BY_SHAPE)[:4], "StatelessRandomBinomial")
# Others, which are the same on all workers unless they are for examples.
_BY_VALUES = (
    "RandomIndexShuffle", "StatelessMultinomial", "StatelessParameterizedTruncatedNormal", "StatelessRandomGammaV2",
    "StatelessRandomNormal", "StatelessRandomPoisson", "StatelessRandomUniform", "StatelessRandomUniformFullInt",
    "StatelessRandomUniformInt", "StatelessSampleDistortedBoundingBox", "StatelessShuffle", "StatelessTruncatedNormal",
)  # fmt: skip
# Draws from a state of their own, which is in no checkpoint and advances by how much a worker draws.
_STATEFUL = (
    "Multinomial", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle",
    "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "RngReadAndSkip", "RngSkip",
    "SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2", "TruncatedNormal",
)  # fmt: skip
_ELEMENTWISE = ("Neg", "Sub", "AddV2", "Mul", "RealDiv", "Cast", "Identity")
_IS_GLOBAL: ContextVar[bool] = ContextVar("is_global", default=False)
_PROBE = 7  # examples in the batches of the second trace; a prime, so no other size is made of it by chance


@dataclass
class _Draws:
    """The draws of one trace, in their order: each operation's type, name, shape, and which axis is the batch's."""

    found: list[tuple[Operation, tf.TensorShape, int | None]] = field(default_factory=list)
    handled: set[str] = field(default_factory=set)  # names of operations that draw for the global batch
    refused: list[str] = field(default_factory=list)  # what can't be equal, each in words
    keys: set[Any] = field(default_factory=set)  # one number drawn for each example, and what is computed of them


def drawn_by_all_workers(model: keras.Model, step_function: StepFunction, step: Step) -> StepFunction:
    """Return `step_function` with what it draws for its examples drawn for the global batch.

    One worker's is `step_function` itself. Raises TrainingError, as it is traced, with the layer of a draw that can't
    be made so.
    """
    if step.exchange.num_workers == 1:
        return step_function

    def within_global_batch(data: Any) -> Any:
        draws = _Draws()
        with operations_seen(lambda operation: _own_rows(operation, draws, step, step_graph)):
            step_graph = tf.compat.v1.get_default_graph()
            logs = step_function(data)
        _check_called(draws, step_graph)
        if any(axis is not None for _, _, axis in draws.found):
            _check_axes(draws, _traced_again(step_function, data, step))
        if draws.refused:
            raise TrainingError(_refusal(draws.refused, model))
        return logs

    return within_global_batch


@contextmanager
def drawn_globally() -> Iterator[None]:
    """Leave what is drawn in the block as it is: it is this worker's part of the global batch already."""
    token = _IS_GLOBAL.set(True)
    try:
        yield
    finally:
        _IS_GLOBAL.reset(token)


def _own_rows(operation: Operation, draws: _Draws, step: Step, step_graph: Any) -> list[tf.Tensor] | None:
    """Rows of this worker of what `operation` draws for the global batch; None for all other operations."""
    kind = operation.kind
    if _IS_GLOBAL.get():
        draws.handled.add(operation.name)
    elif kind in _BY_SHAPE:
        return _drawn(operation, draws, step, is_looped=is_within_loop(operation.graph, step_graph))
    elif kind in _STATEFUL:
        draws.refused.append(
            f"{operation.name} draws by a state of TensorFlow's ({kind}), expected one of keras.random"
        )
    elif kind in _BY_VALUES and not all(one.shape.is_fully_defined() for one in operation.outputs):
        draws.refused.append(f"{operation.name} draws for a batch by {kind}, which is not known by its shape")
    elif kind == "TopKV2" and operation.inputs[0].ref() in draws.keys:
        draws.refused.append(f"{operation.name} shuffles the examples of a batch, of which each worker has a part")
    elif kind in _ELEMENTWISE and any(one.ref() in draws.keys for one in operation.inputs):
        draws.keys.update(one.ref() for one in operation.outputs)
    return None


def _drawn(operation: Operation, draws: _Draws, step: Step, *, is_looped: bool) -> list[tf.Tensor] | None:
    [own] = operation.outputs
    axis = _batch_axis(own.shape)
    draws.found.append((operation, own.shape, axis))
    if axis is None:
        if is_looped:
            draws.refused.append(f"{operation.name} draws within a loop, expected one draw for all examples of a batch")
        return None
    names = _BY_SHAPE[operation.kind]
    if not all(one.shape.is_fully_defined() for one in operation.inputs[1:]):
        draws.refused.append(f"{operation.name} draws with parameters of its own for each example")
        return None
    with tf.device("CPU"):  # which needs shapes and places, and would have to wait for a GPU
        examples, first_row = step.place.of_global_batch()
        shape = operation.inputs[0]
        whole = tf.concat([shape[:axis], tf.cast(examples, shape.dtype)[tf.newaxis], shape[axis + 1 :]], axis=0)
        rows = first_row + tf.range(tf.cast(shape[axis], tf.int32))
    settings = {"dtype": own.dtype} if operation.kind in _WITH_TYPE else {}
    drawn = getattr(tf.raw_ops, operation.kind)(
        **dict(zip(names, (whole, *operation.inputs[1:]), strict=True)), **settings
    )
    part = tf.gather(drawn, rows, axis=axis)  # not a slice, for which XLA needs to know where it begins
    part.set_shape(own.shape)
    draws.handled.add(drawn.op.name)
    if own.shape.rank == 1:
        draws.keys.add(part.ref())
    return [part]


def _batch_axis(shape: tf.TensorShape) -> int | None:
    """The axis of examples: the first where its size is open, or else the first of the others that is."""
    if shape.rank is None:
        return 0  # the second trace says whether it is
    return next((axis for axis, size in enumerate(shape) if size is None), None)


def _traced_again(step_function: StepFunction, data: Any, step: Step) -> _Draws:
    """The draws of the step with batches of a known size."""
    flat = tf.nest.flatten(data)
    places = [place for place, one in enumerate(flat) if isinstance(one, tf.Tensor)]
    draws = _Draws()

    def see(operation: Operation) -> None:
        if operation.kind in _BY_SHAPE and not _IS_GLOBAL.get():
            draws.found.append((operation, operation.outputs[0].shape, None))

    def trace(*tensors: tf.Tensor) -> None:
        known = [*flat]
        for place, tensor in zip(places, tensors, strict=True):
            known[place] = tensor
        with operations_seen(see), overridden((step, "updates", None if step.updates is None else [])):
            step_function(tf.nest.pack_sequence_as(data, known))

    sizes = [tf.TensorSpec([_PROBE, *flat[place].shape[1:]], flat[place].dtype) for place in places]
    tf.function(trace, autograph=False).get_concrete_function(*sizes)
    return draws


def _check_called(draws: _Draws, step_graph: Any) -> None:
    """Refuse what draws in a function that was traced before, where nothing of it was seen."""
    seen = draws.handled.union(operation.name for operation, _, _ in draws.found)
    for kind, name in called_operations(step_graph):
        if kind in (*_BY_SHAPE, *_BY_VALUES, *_STATEFUL) and name not in seen:
            draws.refused.append(f"{name} draws in a tf.function that was traced before the step was")


def _check_axes(draws: _Draws, of_known_size: _Draws) -> None:
    """Refuse draws whose axis that was taken for the batch's is another."""
    kinds, others = ([operation.kind for operation, _, _ in one.found] for one in (draws, of_known_size))
    if kinds != others:
        draws.refused.append("the model draws otherwise where the size of a batch is known")
        return
    for (operation, _, axis), (_, shape, _) in zip(draws.found, of_known_size.found, strict=True):
        if axis is not None and (shape.rank is None or shape[axis] != _PROBE):
            draws.refused.append(
                f"{operation.name} draws {shape} for a batch of {_PROBE} examples, expected an axis of the examples"
            )


def _refusal(reasons: list[str], model: keras.Model) -> str:
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return (
        f"{_named_layer(reasons[0], model)}{reasons[0]}{more}; several workers can't draw this as one process does: "
        "draw by keras.random, with a value or row for each example, or train with one worker"
    )


def _named_layer(reason: str, model: keras.Model) -> str:
    """The layer within which the operation is that `reason` begins with: scopes are named by layers, and numbered."""
    scopes = reason.partition(" ")[0].split("/")
    for scope in reversed(scopes[:-1]):
        for layer in flat_layers(model):
            if re.fullmatch(rf"{re.escape(layer.name)}(_\d+)?", scope):
                return f"layer {layer.path or layer.name} ({type(layer).__name__}): "
    return ""
