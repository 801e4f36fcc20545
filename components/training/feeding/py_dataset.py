"""Global batches of a `keras.utils.PyDataset`, from any step on, read ahead by threads.

TensorFlow asks for a batch by its step where it needs it, and never ahead: its own threads would wait for Python as an
iterator is removed, which waits for them. So what is read ahead is read by threads of Python.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.training.batches import Windows, epoch_order
from headrace.components.training.feeding.own_random import OwnRandom

Leaves = list[NDArray[Any]]


class PyDatasetBatches:
    """Batches of a PyDataset by their step; with `seed`, each pass has them in another order.

    `__getitem__` is called by as many threads as the dataset has `workers`, at most `max_queue_size` batches ahead and
    never beyond the epoch, so that none is read while `on_epoch_begin` or `on_epoch_end` runs. Those two draw from
    `random`, the stream that the dataset was made with. They are called when Keras calls them: `on_epoch_end` also once
    before the first epoch, and before each of an evaluation, since Keras resets its iterator then. Raises DataError for
    a dataset without batches, one that needs processes, and batches that are not arrays of one form.
    """

    is_python = True

    def __init__(
        self,
        dataset: keras.utils.PyDataset,
        *,
        random: OwnRandom,
        seed: int | None,
        name: str,
        is_evaluation: bool = False,
    ) -> None:
        if dataset.use_multiprocessing:
            raise DataError(
                f"{name}: a PyDataset with use_multiprocessing=True would be pickled for each process; give it "
                "workers=, which are threads, and leave use_multiprocessing out"
            )
        self.length = None if dataset.num_batches is None else int(dataset.num_batches)
        if self.length == 0:
            raise DataError(f"{name}: the PyDataset has no batches")
        self.error: Exception | None = None
        self._dataset, self._random, self._seed, self._name = dataset, random, seed, name
        self._is_evaluation = is_evaluation
        self._threads = ThreadPoolExecutor(max(1, dataset.workers), thread_name_prefix=f"{name}-batches")
        self._reads: deque[Future[Leaves]] = deque()  # of the steps from `_step` on
        self._step = self._epoch_steps = 0
        self._form: Any = None
        self._specifications: list[tf.TensorSpec] = []

    def from_step(self, first_step: int, *, epoch_steps: int) -> tf.data.Dataset:
        """All global batches from a step on, pass after pass; none before it is read."""
        self._step, self._epoch_steps = first_step, epoch_steps
        self._learn_form()
        for epoch in range(first_step // epoch_steps):
            self._begin(epoch)
            self._end()
        if first_step % epoch_steps:
            self._begin(first_step // epoch_steps)

        def read(step: tf.Tensor) -> Any:
            leaves = tf.numpy_function(self._asked, [step], [one.dtype for one in self._specifications])
            shaped = [tf.ensure_shape(leaf, one.shape) for leaf, one in zip(leaves, self._specifications, strict=True)]
            return tf.nest.pack_sequence_as(self._form, shaped)

        return tf.data.Dataset.counter(np.int64(first_step), dtype=tf.int64).map(read)

    def close(self) -> None:
        """Read no more."""
        self._threads.shutdown(cancel_futures=True)

    def _asked(self, step: NDArray[np.int64]) -> Leaves:
        """What TensorFlow gets; an error is kept, of which it shows the text alone."""
        try:
            return self._next(int(step))
        except Exception as error:
            self.error = error
            raise

    def _next(self, step: int) -> Leaves:
        if step != self._step:  # another iterator over the same steps
            self._reads.clear()
            self._step = step
        if step % self._epoch_steps == 0:
            self._begin(step // self._epoch_steps)
        end = min(step + max(1, self._dataset.max_queue_size), (step // self._epoch_steps + 1) * self._epoch_steps)
        while self._step + len(self._reads) < end:
            self._reads.append(self._threads.submit(self._read, self._step + len(self._reads)))
        leaves = self._reads.popleft().result()
        self._step += 1
        if self._step % self._epoch_steps == 0:
            self._end()
        return leaves

    def _begin(self, epoch: int) -> None:
        with self._random.active():
            if epoch == 0 or self._is_evaluation:
                self._dataset.on_epoch_end()
            self._dataset.on_epoch_begin()

    def _end(self) -> None:
        with self._random.active():
            self._dataset.on_epoch_end()

    def _read(self, step: int) -> Leaves:
        batch = self._batch(step)
        leaves = [_array(leaf, self._name) for leaf in tf.nest.flatten(batch)]
        found = [tf.TensorSpec(leaf.shape, tf.as_dtype(leaf.dtype)) for leaf in leaves]
        if not _has_form(batch, self._form) or not all(map(_fits, found, self._specifications)):
            raise DataError(
                f"{self._name}: expected batches of one form, {_said(self._specifications)}; batch "
                f"{self._index(step)} is {_said(found)}"
            )
        return leaves

    def _batch(self, step: int) -> Any:
        batch = self._dataset[self._index(step)]
        if isinstance(batch, list):
            batch = tuple(batch)  # as Keras takes it
        if not isinstance(batch, tuple) or len(batch) not in (2, 3):
            raise DataError(
                f"{self._name}: expected (features, labels) or (features, labels, weights) of a PyDataset, found "
                f"{type(batch).__name__}{f' of {len(batch)}' if isinstance(batch, tuple) else ''}"
            )
        return batch

    def _index(self, step: int) -> int:
        if self.length is None:
            return step
        number, place = divmod(step, self.length)
        if self._seed is None:
            return place
        return int(_order(self.length, self._seed, number)[place])

    def _learn_form(self) -> None:
        """Types and shapes from the first batch and the last; axes whose length differs stay open."""
        last = 1 if self.length is None else self.length - 1
        samples = [self._batch(step) for step in dict.fromkeys((0, last))]
        self._form = samples[0]
        by_leaf = zip(*([_array(leaf, self._name) for leaf in tf.nest.flatten(one)] for one in samples), strict=True)
        self._specifications = [_specification(leaves, self._name) for leaves in by_leaf]


@lru_cache(maxsize=4)
def _order(length: int, seed: int, number: int) -> NDArray[np.int64]:
    """Every index once, in the order of a pass."""
    return epoch_order(Windows(length, 1), seed=seed, epoch=number)


def _array(leaf: Any, name: str) -> NDArray[Any]:
    """A part of a batch as Keras takes it: floating point numbers in Keras's own type."""
    if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):
        raise DataError(f"{name}: expected arrays of a PyDataset, found {type(leaf).__name__}; give a tf.data.Dataset")
    array = leaf if isinstance(leaf, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(leaf))
    if array.ndim == 0:
        raise DataError(f"{name}: expected arrays with an axis of examples, found the single value {array!r:.80}")
    if array.dtype.kind == "U":
        return array.astype(object)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _specification(leaves: Sequence[NDArray[Any]], name: str) -> tf.TensorSpec:
    first, *others = leaves
    if any(one.dtype != first.dtype or one.ndim != first.ndim for one in others):
        found = ", ".join(f"{one.dtype}{list(one.shape)}" for one in leaves)
        raise DataError(f"{name}: expected batches of one type and rank, found {found}")
    sizes = zip(*(one.shape[1:] for one in leaves), strict=True)
    shape = [None, *(of_all[0] if len(set(of_all)) == 1 else None for of_all in sizes)]
    return tf.TensorSpec(shape, tf.as_dtype(first.dtype))


def _has_form(batch: Any, form: Any) -> bool:
    try:
        tf.nest.assert_same_structure(batch, form)
    except (TypeError, ValueError):
        return False
    return True


def _fits(found: tf.TensorSpec, expected: tf.TensorSpec) -> bool:
    return bool(found.dtype == expected.dtype and expected.shape.is_compatible_with(found.shape))


def _said(specifications: Sequence[tf.TensorSpec]) -> str:
    return ", ".join(f"{one.dtype.name}{one.shape}" for one in specifications)
