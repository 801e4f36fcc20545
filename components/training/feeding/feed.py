"""tf.data pipelines that serve one worker's part of every global batch.

All of it is TensorFlow's own operations. A Python generator (`from_generator`) would need the interpreter's lock for
every batch, and can wait for itself: an iterator is removed under that lock, and waits for its generator to end.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.errors import DataError
from headrace.components.training.batches import Windows, batch_slice, worker_slice
from headrace.components.training.feeding.disk_splits import StoredColumns
from headrace.components.training.feeding.example_tensors import all_examples, decode_images, read_blocks, take
from headrace.components.training.feeding.order import window_blocks, window_order
from headrace.components.training.feeding.split_arrays import Columns

PREFETCHED_BATCHES = 4
DECODED_BATCHES = 4  # batches of encoded images that are decoded at once


def serve_training(
    columns: Columns | StoredColumns,
    windows: Windows,
    *,
    seed: int | None,
    rank: int,
    num_workers: int,
    first_epoch: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Return batches, epoch after epoch without end, from step `first_step` of epoch `first_epoch` on (0 is the first).

    A batch is (features float32[batch, ...], labels int32 or float32[batch]) and, where `columns` have weights, their
    float32[batch]: this worker's part of the global batch that `worker_order` in `training/batches.py` gives for the
    same arguments. Without a seed, examples keep their own order. A set on disk needs memory for the window that is
    served and, twice, for the next, which is read meanwhile. Raises DataError if it was written in blocks of another
    length than `windows` has.
    """
    epochs_on, step = divmod(first_step, windows.steps)
    first = ((first_epoch + epochs_on) * windows.count + windows.window_of(step), step)
    return _served(columns, windows, seed=seed, first=first, part=(rank, num_workers))


def serve_evaluation(
    columns: Columns | StoredColumns, windows: Windows, *, rank: int, num_workers: int
) -> tf.data.Dataset:
    """Return batches like `serve_training`'s, `windows.steps` for all examples in their own order, over and over."""
    return _served(columns, windows, seed=None, first=(0, 0), part=(rank, num_workers))


def _served(
    columns: Columns | StoredColumns,
    windows: Windows,
    *,
    seed: int | None,
    first: tuple[int, int],
    part: tuple[int, int],
) -> tf.data.Dataset:
    """Batches from the window `first[0]`, counted through all epochs, and its epoch's step `first[1]` on."""
    by_window = _read_by_window(columns, windows)
    resident: Any = None if by_window else all_examples(columns)
    edges, first_steps, in_block, weights = _constants(columns, windows)

    def opened(number: tf.Tensor) -> Any:
        """A window's steps, its rows in their order, and, where they are read now, (their places, its examples)."""
        epoch, window = number // windows.count, number % windows.count
        blocks = window_blocks(windows, window, seed=seed, epoch=epoch)
        rows = tf.reshape(blocks[:, None] * windows.block_examples + in_block, [-1])
        rows = rows[: edges[window + 1] - edges[window]]  # a short block is the last
        order = window_order(rows, seed=seed, epoch=epoch)
        done = tf.where(number == first[0], first[1] - first_steps[window], 0)
        steps = first_steps[window + 1] - first_steps[window]
        return done, steps, tf.gather(rows, order), (order, read_blocks(by_window, blocks)) if by_window else ()

    def batches(done: tf.Tensor, steps: tf.Tensor, rows: tf.Tensor, read: Any) -> tf.data.Dataset:
        places, examples = read or (rows, resident)

        def batch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
            own = _worker_places(step, examples=tf.size(rows, tf.int64), steps=steps, part=part)
            taken = take(examples, places[own])
            return taken if weights is None else (*taken, tf.gather(weights, rows[own]))

        return tf.data.Dataset.range(done, steps).map(batch)

    numbers = tf.data.Dataset.counter(start=np.int64(first[0]), dtype=tf.int64)
    # One call at a time: one window is read ahead, no more.
    served = numbers.map(opened, num_parallel_calls=1, deterministic=True).flat_map(batches)
    return _decoded(served, columns).prefetch(PREFETCHED_BATCHES)


def _constants(columns: Columns | StoredColumns, windows: Windows) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
    """The windows' edges and first steps, the places within a block, and the weights, if any, on the CPU."""
    with tf.device("CPU"):
        weights = None if columns.weights is None else tf.constant(columns.weights)
        in_block = tf.range(windows.block_examples, dtype=tf.int64)
        return tf.constant(windows.edges), tf.constant(windows.first_steps), in_block, weights


def _worker_places(step: tf.Tensor, *, examples: tf.Tensor, steps: tf.Tensor, part: tuple[int, int]) -> slice:
    """Which places of a window's order are a worker's part of the window's step."""
    dealt = batch_slice(step, examples=examples, steps=steps)
    own = worker_slice(dealt.stop - dealt.start, rank=part[0], num_workers=part[1])
    return slice(dealt.start + own.start, dealt.start + own.stop)


def _decoded(batches: tf.data.Dataset, columns: Columns | StoredColumns) -> tf.data.Dataset:
    if isinstance(columns, Columns) or columns.description.image_divisor is None:
        return batches
    return decoded(batches, columns.shape, columns.description.image_divisor)


def decoded(batches: tf.data.Dataset, shape: tuple[int, ...], divisor: float) -> tf.data.Dataset:
    """Batches with images instead of their files, as `decode_images` makes them."""
    return batches.map(
        lambda images, *others: (decode_images(images, shape=shape, divisor=divisor), *others),
        num_parallel_calls=DECODED_BATCHES,
        deterministic=True,
    )


def _read_by_window(columns: Columns | StoredColumns, windows: Windows) -> StoredColumns | None:
    """The columns, unless all of their examples are to be in memory at once."""
    if windows.count == 1 or isinstance(columns, Columns):
        return None
    if columns.description.block_examples != windows.block_examples:
        raise DataError(
            f"{columns.folder} has blocks of {columns.description.block_examples} examples, and windows of "
            f"{windows.window_examples} need blocks of {windows.block_examples}: write the columns again"
        )
    return columns
