"""tf.data pipelines that serve one worker's part of every global batch."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.training.batches import steps_per_epoch, worker_order, worker_slice


def training_batches(  # noqa: PLR0913 - they are plain numbers
    features: NDArray[np.float32],
    labels: NDArray[np.generic],
    *,
    global_batch_size: int,
    seed: int,
    rank: int,
    num_workers: int,
    first_epoch: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Return (features, labels) batches, epoch after epoch without end, from (first_epoch, first_step) on.

    `features` is float32[examples, ...], `labels` int32 or float32[examples]; a batch is this worker's part.
    """
    examples = len(features)

    def indices() -> Iterator[NDArray[np.int64]]:
        epoch, step = first_epoch, first_step
        while True:
            yield from worker_order(
                examples,
                global_batch_size=global_batch_size,
                seed=seed,
                epoch=epoch,
                rank=rank,
                num_workers=num_workers,
                first_step=step,
            )
            epoch, step = epoch + 1, 0

    def gathered() -> Iterator[tuple[NDArray[np.float32], NDArray[np.generic]]]:
        for part in indices():
            yield features[part], labels[part]

    return _dataset(gathered, features, labels)


def evaluation_batches(
    features: NDArray[np.float32],
    labels: NDArray[np.generic],
    *,
    global_batch_size: int,
    rank: int,
    num_workers: int,
) -> tf.data.Dataset:
    """Return (features, labels) batches in their own order, over and over: this worker's part of each global batch."""
    examples = len(features)
    steps = steps_per_epoch(examples, global_batch_size=global_batch_size)

    def gathered() -> Iterator[tuple[NDArray[np.float32], NDArray[np.generic]]]:
        while True:
            for step in range(steps):
                start = step * global_batch_size
                size = min(global_batch_size, examples - start)
                part = worker_slice(size, rank=rank, num_workers=num_workers)
                rows = slice(start + part.start, start + part.stop)
                yield features[rows], labels[rows]

    return _dataset(gathered, features, labels)


def _dataset(generator: object, features: NDArray[np.float32], labels: NDArray[np.generic]) -> tf.data.Dataset:
    signature = (
        tf.TensorSpec((None, *features.shape[1:]), features.dtype),
        tf.TensorSpec((None, *labels.shape[1:]), labels.dtype),
    )
    return tf.data.Dataset.from_generator(generator, output_signature=signature).prefetch(4)
