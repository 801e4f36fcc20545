"""The exchange of a step: what every worker adds, and all get the sum of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.errors import TrainingError
from headrace.components.training.workers.collectives import collectives
from headrace.components.training.workers.rendezvous import Rendezvous
from headrace.components.training.workers.ring import Compression, ring_of

# What is larger goes alone: it would cost a copy into a common vector and one out of it, more than one more round trip.
PACKED_BYTES = 1 << 20

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices


class Exchange(Protocol):
    """What the workers of one training do together; every worker calls each method at the same point."""

    rank: int
    num_workers: int
    strategy: tf.distribute.Strategy  # the one that the model is made in

    def sum(self, vector: tf.Tensor, *, exact: bool = False) -> tf.Tensor:
        """The sums over all workers of `vector`, float32[n], within a step; its gradient is that of all losses.

        What is not to be `exact` may be rounded on its way.
        """

    def gather_rows(self, tensors: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The rows of all workers of each tensor, in the order of ranks, within a step, never rounded.

        They may differ in number alone. Also where this worker's own rows begin, int64[tensors]. It has no gradient.
        """

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of all workers, in the order of ranks, between steps; they may differ in number alone."""


class Alone:
    """The exchange of a training of one worker."""

    def __init__(self) -> None:
        self.rank, self.num_workers, self.strategy = 0, 1, tf.distribute.get_strategy()

    def sum(self, vector: tf.Tensor, *, exact: bool = False) -> tf.Tensor:  # noqa: ARG002
        """The vector itself."""
        return vector

    def gather_rows(self, tensors: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The rows themselves."""
        return list(tensors), tf.zeros([len(tensors)], tf.int64)

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows themselves."""
        return rows


@contextmanager
def joined(
    rendezvous: Rendezvous | None, *, timeout_seconds: float = 180.0, compression: Compression = "none"
) -> Iterator[Exchange]:
    """Join the other workers for the length of the block; one worker needs no rendezvous.

    Gradients go along the ring, and where workers have GPUs by NCCL. To be called before TensorFlow is used, outside of
    an event loop. Raises ConnectionError for a neighbour that does not start within the limit, TrainingError where
    some workers have a GPU and others none.
    """
    if rendezvous is None or rendezvous.num_workers == 1:
        yield Alone()
        return
    with ring_of(rendezvous, timeout_seconds=timeout_seconds, compression=compression) as ring:
        gpus = ring.gather(np.array([len(tf.config.get_visible_devices("GPU"))]))
        if not gpus.any():
            yield ring
            return
        if not gpus.all():
            raise TrainingError(
                f"the workers have {', '.join(map(str, gpus))} GPUs, expected one each or none; install "
                "tensorflow[and-cuda] and the driver on every node"
            )
        yield collectives(ring, rendezvous, timeout_seconds=timeout_seconds)


def sum_over_workers(
    gradients: Sequence[Gradient], figures: tf.Tensor, *, exchange: Exchange
) -> tuple[list[Gradient], tf.Tensor]:
    """Return the sums over all workers of `gradients`, of any shapes, and of `figures`, float32[n]; all float32.

    A sparse gradient stays sparse: it has the rows of all workers in the order of ranks, an id as often as they have
    it. Called by every worker within a step. A ring that compresses rounds large dense gradients alone, never figures.
    """
    gradients = [map_values(lambda values: tf.cast(values, tf.float32), gradient) for gradient in gradients]
    if exchange.num_workers == 1:
        return gradients, figures
    sparse = {place: one for place, one in enumerate(gradients) if isinstance(one, tf.IndexedSlices)}
    flat = {place: tf.reshape(one, [-1]) for place, one in enumerate(gradients) if place not in sparse}
    sums: dict[int, Gradient] = {}
    # The last layers' first: they are there first, and travel while the backward pass still runs. One after the other,
    # in an order that is the same on all workers, or they would wait for each other.
    for place in reversed(flat):
        if (flat[place].shape[0] or 0) * 4 > PACKED_BYTES:
            sums[place] = _summed(flat[place], exchange, after=list(sums.values()))
    if sparse:
        sums.update(zip(sparse, _gathered(list(sparse.values()), exchange, after=list(sums.values())), strict=True))
    rest = [place for place in flat if place not in sums]
    vectors = [*(flat[place] for place in rest), figures]
    packed = _summed(tf.concat(vectors, axis=0), exchange, after=list(sums.values()), exact=True)
    *parts, figure_sums = tf.split(packed, [tf.size(vector) for vector in vectors], num=len(vectors))
    sums.update(zip(rest, parts, strict=True))
    shaped = [
        sums[place] if place in sparse else tf.reshape(sums[place], tf.shape(gradient))
        for place, gradient in enumerate(gradients)
    ]
    return shaped, tf.ensure_shape(figure_sums, figures.shape)


def map_values(function: Callable[[tf.Tensor], tf.Tensor], gradient: Gradient) -> Gradient:
    """Apply `function` to all numbers of a gradient: of a sparse one, to its rows."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)


def sum_with_gradient(values: tf.Tensor, *, exchange: Exchange) -> tf.Tensor:
    """The sums over all workers of `values`, of any shape and type; its gradient is that of all workers' losses.

    Called by every worker within a step, as often and in the same order: a `tf.function` runs what has effects, as a
    ring has, one after the other as it was traced.
    """
    if exchange.num_workers == 1:
        return values
    total = exchange.sum(tf.reshape(tf.cast(values, tf.float32), [-1]), exact=True)
    return tf.cast(tf.ensure_shape(tf.reshape(total, tf.shape(values)), values.shape), values.dtype)


def _summed(vector: tf.Tensor, exchange: Exchange, *, after: Sequence[tf.Tensor], exact: bool = False) -> tf.Tensor:
    with tf.control_dependencies(after):
        return exchange.sum(vector, exact=exact)


def _gathered(
    slices: Sequence[tf.IndexedSlices], exchange: Exchange, *, after: Sequence[tf.Tensor]
) -> list[tf.IndexedSlices]:
    tensors = [tensor for one in slices for tensor in (one.indices, one.values)]
    with tf.control_dependencies(after):
        gathered, _ = exchange.gather_rows(tensors)
    ids, rows = gathered[::2], gathered[1::2]
    return [tf.IndexedSlices(*of_all, one.dense_shape) for one, *of_all in zip(slices, rows, ids, strict=True)]
