"""Which examples each worker sees at each step: a function of (seed, epoch) alone, not of the number of workers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import DataError
from components.examples.identity import mix


def steps_per_epoch(examples: int, *, global_batch_size: int) -> int:
    """Return how many global batches an epoch has: the fewest with at most `global_batch_size` examples each."""
    return -(-examples // global_batch_size)


def batch_slice(step: Any, *, examples: int, steps: int) -> slice:
    """Return which places of an epoch's order are the global batch of `step` (0 is the first).

    The examples are dealt evenly: batches differ by at most one. Were all full but the last, that one could be of a
    few examples, with a noisy gradient as heavy as the others', and of fewer than there are workers.
    """
    return slice(examples * step // steps, examples * (step + 1) // steps)


def epoch_order(examples: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return int64[examples], every example's index once, in an order that depends on seed and epoch alone.

    The indices are sorted by a 64-bit mix written out in this project, because the streams of NumPy's and
    TensorFlow's generators may change from one version to the next, and with them every result.
    """
    epoch_seed = int(mix(np.array([epoch], dtype=np.uint64), seed)[0] >> np.uint64(1))
    keys = mix(np.arange(examples, dtype=np.uint64), epoch_seed)
    return np.argsort(keys, kind="stable")


def worker_slice(size: Any, *, rank: int, num_workers: int) -> slice:
    """Return the part of a global batch of `size` examples that belongs to one worker.

    The parts are contiguous, follow each other by rank and differ in length by at most one example.
    """
    return slice(size * rank // num_workers, size * (rank + 1) // num_workers)


def worker_order(
    examples: int, *, global_batch_size: int, seed: int, epoch: int, rank: int, num_workers: int, first_step: int = 0
) -> list[NDArray[np.int64]]:
    """Return the indices (int64) of one worker's part of each global batch, from `first_step` to the epoch's end."""
    order = epoch_order(examples, seed=seed, epoch=epoch)
    steps = steps_per_epoch(examples, global_batch_size=global_batch_size)
    batches = [order[batch_slice(step, examples=examples, steps=steps)] for step in range(first_step, steps)]
    return [batch[worker_slice(len(batch), rank=rank, num_workers=num_workers)] for batch in batches]


def require_enough(examples: int, *, split: str, num_workers: int) -> None:
    """Raise DataError if a split has fewer examples than there are workers, all of which work at each step."""
    if examples < num_workers:
        raise DataError(
            f"the {split} split has {examples} examples for {num_workers} workers; lower train.num_workers, or "
            "change the split's fractions"
        )
