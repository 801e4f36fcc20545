"""What is drawn for the global batch, whatever the number of workers: dropout, DropConnect, augmentation, noise."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from components.models.augmentation import Augmentation, ChosenCopy
from components.models.settings import DropConnect
from components.training.batches import Windows, worker_slice
from components.training.feeding.order import batch_examples
from components.transforms.augment import Augment


class GlobalBatch:
    """Which rows of which global batch a worker is training on; gives the layers of one model that draw at random.

    What is drawn is a function of the seed, the layer and the step alone, for the whole global batch, of which a worker
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

    def drop_connect(self, layer: DropConnect) -> keras.layers.Layer:
        """Return a fully connected layer that sets a random share of weights and biases to 0, others for each example.

        Its weights are those of `keras.layers.Dense`, which it is outside of training.
        """
        self._layers += 1
        return _GlobalDropConnect(layer, self, layer=self._layers)

    def noise(self, width: int) -> Callable[[], tf.Tensor]:
        """Return what gives float32[rows, width] of a standard normal distribution: others for each example and step.

        The rows are this worker's of what is drawn for the global batch.
        """
        self._layers += 1
        return partial(self._normal, width, layer=self._layers)

    def augment(self, settings: Augment) -> keras.layers.Layer:
        """Return a layer that changes the images of the global batch, each by its own draws at each step."""
        self._layers += 1
        return Augmentation(settings, partial(self.uniform, layer=self._layers))

    def choose(self) -> keras.layers.Layer:
        """Return a layer that takes one of each example's copies, another at each step."""
        self._layers += 1
        return ChosenCopy(partial(self.uniform, layer=self._layers))

    def uniform(self, shape: tf.Tensor, *, layer: int) -> tf.Tensor:
        """Return float32[*shape] in [0, 1): this worker's rows of what is drawn for the global batch at this step."""
        with tf.device("CPU"):  # which needs the shape and the rows, and would have to wait for a GPU
            step, size = self._step_and_size()
            seed = tf.stack([self._stream(layer), step])
            rows = worker_slice(size, rank=self._rank, num_workers=self._num_workers)
            whole = tf.concat([[size], tf.cast(shape[1:], tf.int64)], axis=0)
        return tf.random.stateless_uniform(whole, seed)[rows]

    def masks(self, shape: Sequence[int], *, rate: float, layer: int) -> tf.Tensor:
        """Return bool[rows, *shape], False at a share of `rate`: for each of this worker's examples at this step.

        Each example's is drawn by itself: drawing those of the others too would take longer than the layer.
        """
        with tf.device("CPU"):  # as above
            step, size = self._step_and_size()
            rows = tf.range(size)[worker_slice(size, rank=self._rank, num_workers=self._num_workers)]

        def draw(row: tf.Tensor) -> tf.Tensor:
            seed = tf.stack([self._stream(layer), tf.bitwise.left_shift(step, 24) + row])
            return tf.random.stateless_uniform(shape, seed) >= rate

        return tf.map_fn(draw, rows, fn_output_signature=tf.TensorSpec(shape, tf.bool))

    def _normal(self, width: int, *, layer: int) -> tf.Tensor:
        with tf.device("CPU"):  # as above
            step, size = self._step_and_size()
            seed = tf.stack([self._stream(layer), step])
            rows = worker_slice(size, rank=self._rank, num_workers=self._num_workers)
            whole = tf.stack([size, width])
        return tf.random.stateless_normal(whole, seed)[rows]

    def _step_and_size(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The present step, int64[], and how many examples its global batch has, int64[]."""
        step = tf.cast(self._first_step + self._steps, tf.int64)
        return step, batch_examples(self._windows, step % self._windows.steps)

    def _stream(self, layer: int) -> tf.Tensor:
        return tf.constant(self._seed * 65_537 + layer, tf.int64)


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


class _GlobalDropConnect(keras.layers.Dense):
    def __init__(self, settings: DropConnect, batch: GlobalBatch, *, layer: int) -> None:
        super().__init__(settings.units, settings.activation, name=f"drop_connect_{layer}")
        self._rate, self._batch, self._layer = settings.rate, batch, layer

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self._rate == 0:
            return super().call(inputs)
        # float32[inputs + 1, units]; the last row is the biases, which the paper masks too.
        weights = tf.concat([self.kernel, self.bias[tf.newaxis]], axis=0) / (1 - self._rate)
        kept = self._batch.masks(weights.shape, rate=self._rate, layer=self._layer)
        with_one = tf.pad(inputs, [[0, 0], [0, 1]], constant_values=1)
        outputs = tf.matmul(with_one[:, tf.newaxis], tf.where(kept, weights, 0))[:, 0]
        return self.activation(outputs)
