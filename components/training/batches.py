"""Which examples each worker sees at each step: a function of (seed, epoch) alone, not of the number of workers."""

import numpy as np
from numpy.typing import NDArray

from components.errors import DataError
from components.examples.identity import mix


def steps_per_epoch(examples: int, *, global_batch_size: int) -> int:
    """Return how many global batches an epoch has; the last one may be smaller than the others."""
    return -(-examples // global_batch_size)


def epoch_order(examples: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return int64[examples], every example's index once, in an order that depends on seed and epoch alone.

    The indices are sorted by a 64-bit mix written out in this project, because the streams of NumPy's and
    TensorFlow's generators may change from one version to the next, and with them every result.
    """
    epoch_seed = int(mix(np.array([epoch], dtype=np.uint64), seed)[0] >> np.uint64(1))
    keys = mix(np.arange(examples, dtype=np.uint64), epoch_seed)
    return np.argsort(keys, kind="stable")


def worker_slice(size: int, *, rank: int, num_workers: int) -> slice:
    """Return the part of a global batch of `size` examples that belongs to one worker.

    The parts are contiguous, follow each other by rank and differ in length by at most one example.
    """
    return slice(size * rank // num_workers, size * (rank + 1) // num_workers)


def worker_order(
    examples: int, *, global_batch_size: int, seed: int, epoch: int, rank: int, num_workers: int, first_step: int = 0
) -> list[NDArray[np.int64]]:
    """Return the indices (int64) of one worker's part of each global batch, from `first_step` to the epoch's end.

    Raises DataError where a global batch has fewer examples than there are workers, because TensorFlow's
    collectives need every worker at every step.
    """
    order = epoch_order(examples, seed=seed, epoch=epoch)
    batches = [
        order[start : start + global_batch_size]
        for start in range(first_step * global_batch_size, examples, global_batch_size)
    ]
    check_batches(examples, global_batch_size=global_batch_size, num_workers=num_workers)
    return [batch[worker_slice(len(batch), rank=rank, num_workers=num_workers)] for batch in batches]


def check_batches(examples: int, *, global_batch_size: int, num_workers: int) -> None:
    """Raise DataError unless every global batch, the last one too, has an example for every worker."""
    last = examples % global_batch_size or global_batch_size
    smallest = min(last, examples)
    if smallest < num_workers:
        raise DataError(
            f"a global batch of {smallest} examples can't be shared by {num_workers} workers ({examples} examples in "
            f"batches of {global_batch_size}); use fewer workers or another train.global_batch_size"
        )
