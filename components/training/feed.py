"""tf.data pipelines that serve one worker's part of every global batch.

All of it is TensorFlow's own operations. A Python generator (`from_generator`) would need the interpreter's lock for
every batch, and can wait for itself: an iterator is removed under that lock, and waits for its generator to end.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.examples.identity import GOLDEN, MULTIPLIERS, SHIFTS
from components.training.batches import batch_slice, steps_per_epoch, worker_slice

PREFETCHED_BATCHES = 4


def training_batches(
    features: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    global_batch_size: int,
    seed: int,
    rank: int,
    num_workers: int,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Return (features, labels) batches, epoch after epoch without end, from the start of `first_epoch` on.

    `features` is float32[examples, ...], `labels` int32 or float32[examples]; a batch is this worker's part of the
    global batch that `components.training.batches.worker_order` gives for the same arguments.
    """
    examples = len(features)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _epoch_order(examples, seed=seed, epoch=epoch)
        return _global_batches(order, examples=examples, global_batch_size=global_batch_size)

    epochs = tf.data.Dataset.counter(start=np.int64(first_epoch), dtype=tf.int64)
    return _served(epochs.flat_map(epoch_batches), features, labels, rank=rank, num_workers=num_workers)


def evaluation_batches(
    features: NDArray[np.float32], labels: NDArray[Any], *, global_batch_size: int, rank: int, num_workers: int
) -> tf.data.Dataset:
    """Return (features, labels) batches in their own order, over and over: this worker's part of each global batch."""
    order = tf.range(len(features), dtype=tf.int64)
    batches = _global_batches(order, examples=len(features), global_batch_size=global_batch_size)
    return _served(batches.repeat(), features, labels, rank=rank, num_workers=num_workers)


def _global_batches(order: tf.Tensor, *, examples: int, global_batch_size: int) -> tf.data.Dataset:
    """One epoch's batches of indices: int64[batch]."""
    steps = steps_per_epoch(examples, global_batch_size=global_batch_size)
    return tf.data.Dataset.range(steps).map(lambda step: order[batch_slice(step, examples=examples, steps=steps)])


def _served(
    global_batches: tf.data.Dataset,
    features: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    rank: int,
    num_workers: int,
) -> tf.data.Dataset:
    """Batches of indices as batches of examples, ahead of the training."""
    with tf.device("CPU"):  # all examples stay in the host's memory; batches go to the GPU
        all_features, all_labels = tf.constant(features), tf.constant(labels)

    def part(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.shape(batch, out_type=tf.int64)[0]
        own = batch[worker_slice(size, rank=rank, num_workers=num_workers)]
        return tf.gather(all_features, own), tf.gather(all_labels, own)

    return global_batches.map(part, num_parallel_calls=1, deterministic=True).prefetch(PREFETCHED_BATCHES)


def _epoch_order(examples: int, *, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """`components.training.batches.epoch_order` in TensorFlow's operations: int64[examples]."""
    epoch_seed = tf.bitwise.right_shift(_mix(tf.cast(epoch, tf.uint64), np.uint64(seed)), np.uint64(1))
    keys = _mix(tf.cast(tf.range(examples, dtype=tf.int64), tf.uint64), epoch_seed)
    # TensorFlow sorts signed numbers only: moving the range keeps the order.
    signed = tf.bitcast(tf.bitwise.bitwise_xor(keys, np.uint64(1 << 63)), tf.int64)
    return tf.cast(tf.argsort(signed, stable=True), tf.int64)


def _mix(ids: tf.Tensor, seed: Any) -> tf.Tensor:
    return _scramble(ids + _scramble(seed + np.uint64(GOLDEN)))


def _scramble(words: Any) -> tf.Tensor:
    words = tf.convert_to_tensor(words, tf.uint64)
    for shift, multiplier in zip(SHIFTS[:2], MULTIPLIERS, strict=True):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, shift)) * multiplier
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, SHIFTS[2]))
