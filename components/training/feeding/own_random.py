"""Python's and NumPy's global random numbers, as a data set of the user's draws them: apart from the process's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class OwnRandom:
    """A stream of `random` and `numpy.random` that begins at a seed, and continues from block to block."""

    def __init__(self, seed: int) -> None:
        self._states: tuple[Any, Any] | None = None
        self._seed = seed

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from this stream in the block; what the process draws after it is as if there had been no block."""
        before = random.getstate(), np.random.get_state()
        if self._states is None:
            random.seed(self._seed)
            np.random.seed(self._seed)
        else:
            _set(self._states)
        try:
            yield
        finally:
            self._states = random.getstate(), np.random.get_state()
            _set(before)


def _set(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
