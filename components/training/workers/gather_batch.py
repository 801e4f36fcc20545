"""Rows of the global batch, for losses over pairs of examples."""

from typing import Any

import tensorflow as tf

from headrace.components.errors import TrainingError
from headrace.components.training.workers.exchange import sum_with_gradient
from headrace.components.training.workers.step import Step, current_step


def gather_batch(tensor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return `tensor`'s rows of the whole global batch, and which of them are this worker's own, int32[rows].

    For losses that compare the examples of a batch with each other: without it, each worker would see its own part
    alone. Gradients reach each row from the losses of all workers, so weights become those of one process. The rows are
    in the order of the global batch. With one worker, in plain Keras, and in `predict` they are `tensor` itself.

    The in-batch softmax of two towers, the same code for plain Keras and for any number of workers:

        def in_batch_softmax(_, towers):  # float32[batch, 2, units]: each query with its own document
            queries, documents = keras.ops.unstack(towers, axis=1)
            candidates, own = headrace.gather_batch(documents)
            logits = queries @ keras.ops.transpose(candidates)  # of each own query with all documents of the batch
            return keras.losses.sparse_categorical_crossentropy(own, logits, from_logits=True)

        model.compile("adam", in_batch_softmax)

    The loss has one value for each of the worker's own rows; their mean is weighted by the count of rows. To be called
    in a loss or layer, by every worker as often, and not in a `tf.function` of one's own, which may keep an earlier
    trace. Raises TrainingError on several workers for a model compiled with `jit_compile=True`, and on several GPUs
    with `steps_per_execution` above 1.
    """
    rows = tf.shape(tensor)[0]
    step = current_step()
    if step is None or step.exchange.num_workers == 1:
        return tensor, tf.range(rows)
    if step.updates is not None:
        raise TrainingError(
            "gather_batch exchanges rows within the passes, which XLA can't compile; compile the model with "
            "jit_compile=False"
        )
    gathered, first_row = _gathered(tensor, step)
    return gathered, tf.cast(first_row, tf.int32) + tf.range(rows)


def _gathered(tensor: tf.Tensor, step: Step) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def gather(own: tf.Tensor) -> Any:
        [rows], first_rows = step.exchange.gather_rows([own])
        first = first_rows[0]

        def gradient(upstream: tf.Tensor, _: Any) -> tf.Tensor:
            # Each loss counts by its own worker's examples. Where the loss is not weighted, the optimizer will multiply
            # what is returned here by this worker's examples instead.
            weight = 1.0 if step.loss_is_weighted else step.weight
            weighted = tf.cast(tf.convert_to_tensor(upstream), tf.float32) * weight
            total = sum_with_gradient(weighted, exchange=step.exchange) / weight
            return tf.cast(total[first : first + tf.shape(own, tf.int64)[0]], own.dtype)

        return (rows, first), gradient

    return gather(tensor)
