"""Dropout whose masks belong to the global batch, so that they do not depend on the number of workers."""

from typing import Any

import keras
import tensorflow as tf

from components.training.batches import Windows, worker_slice
from components.training.feeding.order import batch_examples


class GlobalBatch:
    """Which rows of which global batch a worker is training on; gives the dropout layers of one model.

    A mask is a function of the seed, the layer and the step alone, drawn for the whole global batch, of which a worker
    uses its own rows. (A `keras.layers.Dropout` draws by a counter of its own: every worker would drop the same places
    of different examples.) Steps are counted from the first epoch on, so a resumed training draws what it would have
    drawn.
    """

    def __init__(self, windows: Windows, *, seed: int, rank: int, num_workers: int) -> None:
        self._first_step: int = 0
        self._steps: Any = 0
        self._windows = windows
        self._seed, self._rank, self._num_workers = seed, rank, num_workers
        self._layers = 0

    def begin(self, first_step: int, steps: tf.Variable) -> None:
        """Count from `first_step` (all epochs' steps) on; `steps`, int64[], are those that are done since."""
        self._first_step, self._steps = first_step, steps

    def dropout(self, rate: float) -> keras.layers.Layer:
        """Return a layer that sets a random share `rate` of the global batch's values to 0 and scales up the others."""
        self._layers += 1
        return _GlobalDropout(rate, self, layer=self._layers)

    def uniform(self, shape: tf.Tensor, *, layer: int) -> tf.Tensor:
        """Return float32[*shape] in [0, 1): this worker's rows of what is drawn for the global batch at this step."""
        step = tf.cast(self._first_step + self._steps, tf.int64)
        size = batch_examples(self._windows, step % self._windows.steps)
        seed = tf.stack([tf.constant(self._seed * 65_537 + layer, tf.int64), step])
        rows = worker_slice(size, rank=self._rank, num_workers=self._num_workers)
        return tf.random.stateless_uniform(tf.concat([[size], tf.cast(shape[1:], tf.int64)], axis=0), seed)[rows]


class _GlobalDropout(keras.layers.Layer):
    def __init__(self, rate: float, batch: GlobalBatch, *, layer: int) -> None:
        super().__init__()
        self._rate, self._batch, self._layer = rate, batch, layer

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self._rate == 0:
            return inputs
        kept = self._batch.uniform(tf.shape(inputs), layer=self._layer) >= self._rate
        return tf.where(kept, inputs / (1 - self._rate), 0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
