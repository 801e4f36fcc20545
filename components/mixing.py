"""Uniform draws from 64-bit words: what shuffles and splits, written out, so that no library's version changes it.

It needs NumPy alone: code that only compares identities imports nothing more.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

# splitmix64's constants, which headrace.components.training.feeding.order needs too
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: the increment
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_BLOCK_WORDS = 1 << 15  # 256 KiB: all passes over a block stay in the processor's cache


def mix(ids: Words, seed: int) -> Words:
    """Return uint64[n], a uniform draw for each of uint64[n] ids: splitmix64's finalizer over the id and the seed.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    offset = scramble(np.array([(seed + GOLDEN) % 2**64], dtype=np.uint64))
    draws = ids + offset
    for start in range(0, len(draws), _BLOCK_WORDS):
        scramble(draws[start : start + _BLOCK_WORDS])
    return draws


def scramble(words: Words) -> Words:
    """Change uint64 words in place by splitmix64's finalizer (modulo 2**64), and return them."""
    words ^= words >> SHIFTS[0]
    words *= MULTIPLIERS[0]
    words ^= words >> SHIFTS[1]
    words *= MULTIPLIERS[1]
    words ^= words >> SHIFTS[2]
    return words
