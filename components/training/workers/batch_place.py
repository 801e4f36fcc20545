"""Where a worker's examples are within the global batch of a step."""

from collections.abc import Callable

import tensorflow as tf

from headrace.components.training.workers.exchange import Exchange

Known = Callable[
    [], tuple[tf.Tensor, tf.Tensor]
]  # how many examples a global batch has, and which is the first own one


class BatchPlace:
    """Size of the global batch of the step that is being traced, and this worker's first row of it.

    What follows from the number of the step is `known`. Elsewhere the workers exchange their counts, where a step asks
    for the place: once a step, and not at all where nothing asks.
    """

    def __init__(self, examples: tf.Tensor, exchange: Exchange, known: Known | None = None) -> None:
        self._examples, self._exchange, self._known = examples, exchange, known
        self._graph = tf.compat.v1.get_default_graph()
        self._found: tuple[tf.Tensor, tf.Tensor] | None = None

    def of_global_batch(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return int32[], the number of examples of the global batch, and int32[], which of them is the first own."""
        if self._found is None:
            # Within the step itself: what asks may be in a loop or condition, where not all workers may come by.
            with self._graph.as_default(), tf.control_dependencies(None), tf.device("CPU"):
                found = self._known() if self._known else self._exchanged()
                self._found = tf.cast(found[0], tf.int32), tf.cast(found[1], tf.int32)
        return self._found

    def share(self) -> tf.Tensor:
        """Return float32[], this worker's share of the examples of the global batch."""
        examples, _ = self.of_global_batch()
        with tf.device("CPU"):
            return self._examples / tf.cast(examples, tf.float32)

    def _exchanged(self) -> tuple[tf.Tensor, tf.Tensor]:
        rank, num_workers = self._exchange.rank, self._exchange.num_workers
        own = self._examples * tf.one_hot(rank, num_workers)
        counts = self._exchange.sum(tf.stop_gradient(own), exact=True)
        return tf.reduce_sum(counts), tf.reduce_sum(counts[:rank])
