"""The exchange of a step: what every worker adds, and all get the sum of."""

from collections.abc import Sequence

import tensorflow as tf


def sum_over_workers(gradients: Sequence[tf.Tensor], figures: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return the sums over all workers of `gradients`, of any shapes, and of `figures`, float32[n]; all float32.

    Called by every worker within `strategy.run`. All travel as one vector: one exchange a step instead of one per
    variable.
    """
    flat = [tf.reshape(tf.cast(gradient, tf.float32), [-1]) for gradient in gradients]
    sizes = [tf.size(gradient) for gradient in flat]
    vector = tf.concat([*flat, figures], axis=0)
    replica = tf.distribute.get_replica_context()
    *sums, figure_sums = tf.split(
        replica.all_reduce(tf.distribute.ReduceOp.SUM, vector), [*sizes, figures.shape[0]], num=len(sizes) + 1
    )
    shaped = [tf.reshape(part, tf.shape(gradient)) for part, gradient in zip(sums, gradients, strict=True)]
    return shaped, figure_sums
