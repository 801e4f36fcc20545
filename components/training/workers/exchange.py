"""The exchange of a step: what every worker adds, and all get the sum of."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.errors import TrainingError
from headrace.components.training.workers.collectives import collectives
from headrace.components.training.workers.rendezvous import Rendezvous
from headrace.components.training.workers.ring import Compression, ring_of

# What is larger goes alone: it would cost a copy into a common vector and one out of it, more than one more round trip.
PACKED_BYTES = 1 << 20


class Exchange(Protocol):
    """What the workers of one training do together; every worker calls each method at the same point."""

    rank: int
    num_workers: int
    strategy: tf.distribute.Strategy  # the one that the model is made in

    def sum(self, vector: tf.Tensor, *, exact: bool = False) -> tf.Tensor:
        """The sums over all workers of `vector`, float32[n], within a step; its gradient is that of all losses.

        What is not to be `exact` may be rounded on its way.
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
    gradients: Sequence[tf.Tensor], figures: tf.Tensor, *, exchange: Exchange
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return the sums over all workers of `gradients`, of any shapes, and of `figures`, float32[n]; all float32.

    Called by every worker within a step. A ring that compresses rounds large gradients alone, never figures.
    """
    if exchange.num_workers == 1:
        return [tf.cast(gradient, tf.float32) for gradient in gradients], figures
    flat = [tf.reshape(tf.cast(gradient, tf.float32), [-1]) for gradient in gradients]
    sums: dict[int, tf.Tensor] = {}
    # The last layers' first: they are there first, and travel while the backward pass goes on. One after the other, in
    # an order that is the same on all workers, or they would wait for each other.
    for place in reversed(range(len(flat))):
        if (flat[place].shape[0] or 0) * 4 > PACKED_BYTES:
            sums[place] = _summed(flat[place], exchange, after=list(sums.values()))
    rest = [place for place in range(len(flat)) if place not in sums]
    vectors = [*(flat[place] for place in rest), figures]
    packed = _summed(tf.concat(vectors, axis=0), exchange, after=list(sums.values()), exact=True)
    *parts, figure_sums = tf.split(packed, [tf.size(vector) for vector in vectors], num=len(vectors))
    sums.update(zip(rest, parts, strict=True))
    shaped = [tf.reshape(sums[place], tf.shape(gradient)) for place, gradient in enumerate(gradients)]
    return shaped, tf.ensure_shape(figure_sums, figures.shape)


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
