"""Which examples each worker sees at each step: a function of (seed, epoch) alone, not of the number of workers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.mixing import mix

BLOCKS_PER_WINDOW = 16  # fewer mix the examples less from epoch to epoch, more read smaller pieces


def steps_per_epoch(examples: int, *, global_batch_size: int) -> int:
    """Number of global batches in an epoch: the fewest with at most `global_batch_size` examples each."""
    return -(-examples // global_batch_size)


def batch_slice(step: Any, *, examples: Any, steps: Any) -> slice:
    """Places in an epoch's order of the global batch of `step` (0 is the first).

    The examples are dealt evenly: batches differ by at most one. Were all full but the last, that one could be of a
    few examples, with a noisy gradient as heavy as the others', and of fewer than there are workers.
    """
    return slice(examples * step // steps, examples * (step + 1) // steps)


def worker_slice(size: Any, *, rank: int, num_workers: int) -> slice:
    """Return the part of a global batch of `size` examples that belongs to one worker.

    The parts are contiguous, follow each other by rank and differ in length by at most one example.
    """
    return slice(size * rank // num_workers, size * (rank + 1) // num_workers)


@dataclass(frozen=True)
class Windows:
    """How a set is cut so that training needs a part of it at a time: blocks, windows of blocks, global batches.

    The examples lie in contiguous blocks of one length; only the last block may be shorter. Every epoch deals the
    blocks to windows in another order, and shuffles the examples of each window. All of it follows from these three
    numbers, never from the machine. Without `window_examples` the whole set is one window.

    The blocks are dealt evenly, the short one always into the last window: so the windows' sizes, the steps and the
    size of each step's batch are the same in every epoch, and none is of a few examples.
    """

    examples: int
    global_batch_size: int
    window_examples: int | None = None

    @property
    def block_examples(self) -> int:
        """Examples in every block but the last."""
        return self.examples if self.window_examples is None else -(-self.window_examples // BLOCKS_PER_WINDOW)

    @cached_property
    def block_edges(self) -> NDArray[np.int64]:
        """int64[windows + 1]: how many blocks of an epoch come before each window, and in all."""
        blocks = -(-self.examples // self.block_examples)
        windows = -(-blocks // BLOCKS_PER_WINDOW)
        return blocks * np.arange(windows + 1, dtype=np.int64) // windows

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """int64[windows + 1]: how many examples of an epoch come before each window, and in all."""
        return np.minimum(self.block_edges * self.block_examples, self.examples)

    @cached_property
    def first_steps(self) -> NDArray[np.int64]:
        """int64[windows + 1]: how many steps of an epoch come before each window, and in all."""
        steps = [steps_per_epoch(size, global_batch_size=self.global_batch_size) for size in np.diff(self.edges)]
        return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.edges) - 1

    @property
    def steps(self) -> int:
        """Number of global batches in an epoch."""
        return int(self.first_steps[-1])

    @property
    def smallest_batch(self) -> int:
        """Number of examples in an epoch's smallest global batch."""
        return int(np.min(np.diff(self.edges) // np.diff(self.first_steps)))

    @property
    def largest_batch(self) -> int:
        """Number of examples in an epoch's largest global batch."""
        return int(np.max(-(-np.diff(self.edges) // np.diff(self.first_steps))))

    def window_of(self, step: int) -> int:
        """Return the window that the global batch of `step` is from."""
        return int(np.searchsorted(self.first_steps, step, side="right")) - 1

    def batch_slice(self, step: int) -> slice:
        """Places in `epoch_order` of the global batch of `step`."""
        window = self.window_of(step)
        first, last = self.edges[window : window + 2].tolist()
        first_step, end_step = self.first_steps[window : window + 2].tolist()
        places = batch_slice(step - first_step, examples=last - first, steps=end_step - first_step)
        return slice(first + places.start, first + places.stop)


def epoch_order(windows: Windows, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return int64[examples], every example's index once, in an order that depends on seed, epoch and cut alone.

    Blocks, and the examples of a window, are sorted by a 64-bit mix written out in this project, because the streams of
    NumPy's and TensorFlow's generators may change from one version to the next, and with them every result.
    """
    first = epoch * windows.count
    return np.concatenate([window_order(windows, seed=seed, number=first + each) for each in range(windows.count)])


def window_blocks(windows: Windows, *, seed: int | None, number: int) -> NDArray[np.int64]:
    """Return int64[blocks], the blocks of a window, counted through all epochs; without a seed in their own order."""
    epoch, window = divmod(number, windows.count)
    full_blocks, short_block = divmod(windows.examples, windows.block_examples)
    blocks = np.arange(full_blocks)
    if seed is not None:
        blocks = _shuffled(blocks, _epoch_seed(seed, epoch, blocks=True))
    if short_block:
        blocks = np.append(blocks, full_blocks)
    return blocks[windows.block_edges[window] : windows.block_edges[window + 1]]


def window_order(windows: Windows, *, seed: int | None, number: int) -> NDArray[np.int64]:
    """Return int64[rows], the examples of a window, counted through all epochs; without a seed in their own order."""
    epoch, window = divmod(number, windows.count)
    blocks = window_blocks(windows, seed=seed, number=number)
    rows = (blocks[:, None] * windows.block_examples + np.arange(windows.block_examples)).reshape(-1)
    rows = rows[: windows.edges[window + 1] - windows.edges[window]]  # a short block is the last
    return rows if seed is None else _shuffled(rows, _epoch_seed(seed, epoch, blocks=False))


def worker_order(
    windows: Windows, *, seed: int, epoch: int, rank: int, num_workers: int, first_step: int = 0
) -> list[NDArray[np.int64]]:
    """Return the indices (int64) of one worker's part of each global batch, from `first_step` to the epoch's end."""
    order = epoch_order(windows, seed=seed, epoch=epoch)
    batches = [order[windows.batch_slice(step)] for step in range(first_step, windows.steps)]
    return [batch[worker_slice(len(batch), rank=rank, num_workers=num_workers)] for batch in batches]


def _shuffled(places: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """`places` sorted by their mix with the seed. No two are equal, so their order before does not matter."""
    return places[np.argsort(mix(places.astype(np.uint64), seed))]


def _epoch_seed(seed: int, epoch: int, *, blocks: bool) -> int:
    """The seed of an epoch's order of examples or, of another stream, of blocks."""
    return int(mix(np.array([epoch + (int(blocks) << 63)], dtype=np.uint64), seed)[0] >> np.uint64(1))
