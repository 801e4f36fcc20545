"""What is drawn for the global batch, whatever the number of workers: dropout, DropConnect, augmentation, noise."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from headrace.components.errors import TrainingError
from headrace.components.models.augmentation import Augmentation, ChosenCopy
from headrace.components.models.layers.basic import DropConnect
from headrace.components.training.batches import Windows, worker_slice
from headrace.components.training.feeding.order import batch_examples
from headrace.components.training.workers.global_draws import drawn_globally
from headrace.components.training.workers.group import Group
from headrace.components.transforms.augment import Augment


class GlobalBatch:
    """Which rows of which global batch a worker is training on; gives the layers of one model that draw at random.

    What is drawn is a function of the seed, the layer and the step alone, for the whole global batch, of which a worker
    uses its own rows. (A `keras.layers.Dropout` draws by a counter of its own: every worker would drop the same places
    of different examples.) Steps are counted from the first epoch on, so a resumed training draws what it would have
    drawn.
    """

    def __init__(self, windows: Windows | None, *, seed: int, rank: int, num_workers: int) -> None:
        self._first_step = 0
        self._group: Group | None = None
        self._known_windows = windows
        self._seed, self._rank, self._num_workers = seed, rank, num_workers
        self._layers = 0

    def begin(self, first_step: int, group: Group) -> None:
        """Count from `first_step` (all epochs' steps) on, with the steps that `group` has done since."""
        self._first_step, self._group = first_step, group

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

    def noise(self, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
        """Source of float32[rows, width] of a standard normal distribution: other values for each example and step.

        It is given int32[], how many examples this worker has: the rows are its own of what is drawn for the global
        batch.
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
        return self._own_rows(tf.random.stateless_uniform, shape, layer=layer)

    def masks(self, rows: tf.Tensor, shape: Sequence[int], *, rate: float, layer: int) -> tf.Tensor:
        """Return bool[rows, *shape], False at a share of `rate`: for each of this worker's examples at this step.

        Each example's is drawn by itself: drawing those of the others too would take longer than the layer.
        """
        with tf.device("CPU"):
            step, first_row = self._step_and_first_row()
            places = tf.cast(first_row, tf.int64) + tf.range(tf.cast(rows, tf.int64))

        def draw(place: tf.Tensor) -> tf.Tensor:
            seed = tf.stack([self._stream(layer), tf.bitwise.left_shift(step, 24) + place])
            return tf.random.stateless_uniform(shape, seed) >= rate

        with drawn_globally():
            return tf.map_fn(draw, places, fn_output_signature=tf.TensorSpec(shape, tf.bool))

    def _normal(self, width: int, rows: tf.Tensor, *, layer: int) -> tf.Tensor:
        return self._own_rows(tf.random.stateless_normal, tf.stack([rows, width]), layer=layer)

    def _own_rows(self, draw: Callable[..., tf.Tensor], shape: tf.Tensor, *, layer: int) -> tf.Tensor:
        """What `draw` gives for the global batch, of which this worker has `shape[0]` rows.

        It is drawn for the largest batch, of which a smaller one has the first rows: XLA, which must know all shapes,
        would compile every step again if they followed from its number.
        """
        with tf.device("CPU"):  # which needs shapes and places, and would have to wait for a GPU
            step, first_row = self._step_and_first_row()
            seed = tf.stack([self._stream(layer), step])
            whole = tf.concat([[self._windows.largest_batch], shape[1:]], axis=0)
            rows = first_row + tf.range(shape[0])
        with drawn_globally():
            drawn = draw(whole, seed)
        return tf.gather(drawn, rows)  # not a slice, for which XLA needs to know where it begins

    def place(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return int64[], the examples of the present step's global batch, and which of them is the first own one."""
        size = batch_examples(self._windows, self._step() % self._windows.steps)
        return size, worker_slice(size, rank=self._rank, num_workers=self._num_workers).start

    @property
    def _windows(self) -> Windows:
        """The cut of the examples, which batches that are given as they are do not have."""
        if self._known_windows is None:
            raise TrainingError("the sizes of given batches are not known, by which these layers draw; give examples")
        return self._known_windows

    def _step_and_first_row(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The present step, int64[], and which row of its global batch is this worker's first, int32[]."""
        _, first_row = self.place()
        return self._step(), tf.cast(first_row, tf.int32)

    def _step(self) -> tf.Tensor:
        return self._first_step + (self._group.steps_done() if self._group else tf.zeros([], tf.int64))

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
        super().__init__(settings.units, settings.activation, name=settings.name or f"drop_connect_{layer}")
        self._rate, self._batch, self._layer = settings.rate, batch, layer

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self._rate == 0:
            return super().call(inputs)
        # float32[inputs + 1, units]; the last row is the biases, which the paper masks too.
        weights = tf.concat([self.kernel, self.bias[tf.newaxis]], axis=0) / (1 - self._rate)
        kept = self._batch.masks(tf.shape(inputs)[0], weights.shape, rate=self._rate, layer=self._layer)
        with_one = tf.pad(inputs, [[0, 0], [0, 1]], constant_values=1)
        outputs = tf.matmul(with_one[:, tf.newaxis], tf.where(kept, weights, 0))[:, 0]
        return self.activation(outputs)
