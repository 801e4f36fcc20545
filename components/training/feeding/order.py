"""`headrace.components.training.batches.epoch_order`, window by window, in TensorFlow's own operations."""

from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.mixing import GOLDEN, MULTIPLIERS, SHIFTS
from headrace.components.training.batches import Windows, batch_slice

_BLOCK_STREAM = np.uint64(1 << 63)  # added to the epoch, it seeds the order of blocks


def window_blocks(windows: Windows, window: tf.Tensor, *, seed: int | None, epoch: tf.Tensor) -> tf.Tensor:
    """Return int64[blocks], the blocks in one window of an epoch; without a seed they are in their own order."""
    full_blocks, short_block = divmod(windows.examples, windows.block_examples)
    blocks = tf.range(full_blocks, dtype=tf.int64)
    if seed is not None:
        epoch_seed = _epoch_seed(tf.cast(epoch, tf.uint64) + _BLOCK_STREAM, seed)
        blocks = tf.gather(blocks, _shuffled_places(blocks, epoch_seed))
    blocks = tf.concat([blocks, [full_blocks] if short_block else []], axis=0)
    edges = tf.constant(windows.block_edges)
    return blocks[edges[window] : edges[window + 1]]


def window_order(rows: tf.Tensor, *, seed: int | None, epoch: tf.Tensor) -> tf.Tensor:
    """Return int64[rows], the places of a window's rows in the order of the epoch; without a seed their own order."""
    if seed is None:
        return tf.range(tf.size(rows, out_type=tf.int64))
    return _shuffled_places(rows, _epoch_seed(tf.cast(epoch, tf.uint64), seed))


def batch_examples(windows: Windows, step: tf.Tensor) -> tf.Tensor:
    """Return int64[], the number of examples in the global batch of `step`, int64[] from 0 to `windows.steps` - 1."""
    edges, first_steps = tf.constant(windows.edges), tf.constant(windows.first_steps)
    window = tf.searchsorted(first_steps, [step], side="right")[0] - 1
    # By `gather`: for an index in brackets, XLA would have to know it when it compiles.
    first, last, begin, end = (tf.gather(one, window + place) for one in (edges, first_steps) for place in (0, 1))
    places = batch_slice(step - begin, examples=last - first, steps=end - begin)
    return places.stop - places.start


def _shuffled_places(places: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    keys = _mix(tf.cast(places, tf.uint64), seed)
    # TensorFlow sorts signed numbers only: moving the range keeps the order.
    signed = tf.bitcast(tf.bitwise.bitwise_xor(keys, np.uint64(1 << 63)), tf.int64)
    return tf.cast(tf.argsort(signed, stable=True), tf.int64)


def _epoch_seed(epoch: tf.Tensor, seed: int) -> tf.Tensor:
    return tf.bitwise.right_shift(_mix(epoch, np.uint64(seed)), np.uint64(1))


def _mix(ids: tf.Tensor, seed: Any) -> tf.Tensor:
    return _scramble(ids + _scramble(seed + np.uint64(GOLDEN)))


def _scramble(words: Any) -> tf.Tensor:
    words = tf.convert_to_tensor(words, tf.uint64)
    for shift, multiplier in zip(SHIFTS[:2], MULTIPLIERS, strict=True):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, shift)) * multiplier
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, SHIFTS[2]))
