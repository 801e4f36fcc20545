"""The exchange of a step: what every worker adds, and all get the sum of."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from components.training.workers.ring import Ring

# What is larger goes alone: it would cost a copy into a common vector and one out of it, more than one more round trip.
PACKED_BYTES = 1 << 20


def sum_over_workers(
    gradients: Sequence[tf.Tensor], figures: tf.Tensor, *, ring: Ring | None = None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return the sums over all workers of `gradients`, of any shapes, and of `figures`, float32[n]; all float32.

    Called by every worker within `strategy.run`. Goes along `ring` where there is one, else by TensorFlow's own
    exchange, which is NCCL on GPUs. A ring that compresses rounds large gradients alone, never figures.
    """
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        return [tf.cast(gradient, tf.float32) for gradient in gradients], figures
    flat = [tf.reshape(tf.cast(gradient, tf.float32), [-1]) for gradient in gradients]
    sums: dict[int, tf.Tensor] = {}
    # The last layers' first: they are there first, and travel while the backward pass goes on. One after the other, in
    # an order that is the same on all workers, or they would wait for each other.
    for place in reversed(range(len(flat))):
        if (flat[place].shape[0] or 0) * 4 > PACKED_BYTES:
            sums[place] = _summed(flat[place], ring, after=list(sums.values()))
    rest = [place for place in range(len(flat)) if place not in sums]
    vectors = [*(flat[place] for place in rest), figures]
    packed = _summed(tf.concat(vectors, axis=0), ring, after=list(sums.values()), exact=True)
    *parts, figure_sums = tf.split(packed, [tf.size(vector) for vector in vectors], num=len(vectors))
    sums.update(zip(rest, parts, strict=True))
    shaped = [tf.reshape(sums[place], tf.shape(gradient)) for place, gradient in enumerate(gradients)]
    return shaped, tf.ensure_shape(figure_sums, figures.shape)


def sum_with_gradient(values: tf.Tensor, *, ring: Ring | None = None) -> tf.Tensor:
    """Return the sums over all workers of `values`, of any shape and type; its gradient is that of all workers' losses.

    Called by every worker within `strategy.run`, as often and in the same order: a `tf.function` runs what has effects,
    as a ring has, one after the other as it was traced.
    """
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        return values
    if ring is None:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)

    def summed(values: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(tf.cast(values, tf.float32), [-1])
        return tf.cast(tf.reshape(_summed(flat, ring, after=(), exact=True), tf.shape(values)), values.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def differentiable(values: tf.Tensor) -> Any:
        return summed(values), summed

    return tf.ensure_shape(differentiable(values), values.shape)


def _summed(vector: tf.Tensor, ring: Ring | None, *, after: Sequence[tf.Tensor], exact: bool = False) -> tf.Tensor:
    with tf.control_dependencies(after):
        if ring is None:
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, vector)
        total = tf.numpy_function(partial(ring.add, exact=exact), [vector], tf.float32)
    return tf.ensure_shape(total, vector.shape)
