"""How float32 values are distributed, counted by their upper bits: a sketch that merges exactly."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)

_FEW_VALUES = 1 << 12
_BLOCK = 1 << 17  # 65,536 counters and a block of values stay in a core's cache


def merge_counts(left: Mapping[Key, int], right: Mapping[Key, int]) -> dict[Key, int]:
    """Return the sums of two tables of counts."""
    merged = dict(left)
    for key, count in right.items():
        merged[key] = merged.get(key, 0) + count
    return merged


@dataclass(frozen=True, eq=False)
class Sketch:
    """Counts by sign, exponent and 7 bits of mantissa (65,536 bins, numbered in the order of their values).

    Like a DDSketch (Masson, Rim and Lee, 2019), with float32's own bits as its logarithm: a quantile is off by a
    factor of less than 1 + 2**-7, and not at all where 8 bits hold the values, as small integers.
    """

    bins: np.ndarray  # int64, ascending: those that are not empty
    counts: np.ndarray  # int64

    def __eq__(self, other: object) -> bool:
        """Whether both counted the same."""
        if not isinstance(other, Sketch):
            return NotImplemented
        return np.array_equal(self.bins, other.bins) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # as of every value that holds arrays

    def merge(self, other: "Sketch") -> "Sketch":
        """Return the sketch of both."""
        bins = np.union1d(self.bins, other.bins)
        counts = np.zeros(len(bins), dtype=np.int64)
        for one in (self, other):
            counts[np.searchsorted(bins, one.bins)] += one.counts
        return Sketch(bins, counts)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def bins_at(self, ranks: Sequence[int]) -> list[int]:
        """Return the bin of each rank; ranks count from 0 in the order of the values."""
        places = np.searchsorted(np.cumsum(self.counts), ranks, side="right")
        return [int(place) for place in self.bins[places]]

    def count_up_to(self, values: Sequence[float]) -> list[int]:
        """Number of values in the bin of each of `values` or in a lower one."""
        sums = np.concatenate([[0], np.cumsum(self.counts)])
        ends = _keys(np.array(values, dtype=np.float32) + np.float32(0)) >> np.uint32(16)
        return [int(count) for count in sums[np.searchsorted(self.bins, ends, side="right")]]


def sketch_of(values: np.ndarray) -> Sketch:
    """Return the sketch of float32 values, none of them NaN."""
    if len(values) < _FEW_VALUES:  # of a wide table's column: to sort them is faster than to look at every bin
        places, numbers = np.unique(_keys(values) >> np.uint32(16), return_counts=True)
        return Sketch(places.astype(np.int64), numbers)
    counts = np.zeros(1 << 16, dtype=np.int64)
    for begin in range(0, len(values), _BLOCK):
        upper = values[begin : begin + _BLOCK].view(np.uint32) >> np.uint32(16)
        counts += np.bincount(upper, minlength=1 << 16)
    ordered = np.concatenate([counts[:0x7FFF:-1], counts[:0x8000]])  # negative values: the larger the bits, the smaller
    bins = np.flatnonzero(ordered)
    return Sketch(bins, ordered[bins])


def value_of_bin(place: int) -> float:
    """Return the value of a bin that is nearest to 0."""
    return float(values_of_bins(np.array([place]))[0])


def values_of_bins(places: np.ndarray) -> np.ndarray:
    """float64[n], the value of each bin that is nearest to 0."""
    keys = places.astype(np.uint32) << np.uint32(16)
    return _values(np.where(places >> 15, keys, keys | np.uint32(0xFFFF)))


def count_in_bins(values: np.ndarray, bins: Collection[int]) -> dict[int, int]:
    """Return the counts, by all 32 bits, of the float32 values (no NaN) in `bins`: at most 65,536 for each bin."""
    wanted = np.array(list(bins), dtype=np.uint32)
    counts: dict[int, int] = {}
    for begin in range(0, len(values), _BLOCK):
        keys = _keys(values[begin : begin + _BLOCK])
        found, numbers = np.unique(keys[np.isin(keys >> np.uint32(16), wanted)], return_counts=True)
        counts = merge_counts(counts, dict(zip(found.tolist(), numbers.tolist(), strict=True)))
    return counts


def value_at(rank: int, sketch: Sketch, counts: Mapping[int, int]) -> float:
    """Return the exact value at a rank; `counts` are those of `count_in_bins` for its bin, and perhaps the next."""
    ordered = sorted(counts.items())
    below = int(sketch.counts[sketch.bins < ordered[0][0] >> 16].sum())
    for key, count in ordered:
        below += count
        if rank < below:
            return float(_values(np.array([key], np.uint32))[0])
    raise ValueError(f"rank {rank} lies beyond the bins that were counted")


def _keys(values: np.ndarray) -> np.ndarray:
    """uint32 that are ordered like the float32 values: all bits turned for a negative one, else only the sign's."""
    bits = values.view(np.uint32)
    return np.where(bits >> np.uint32(31) == 1, ~bits, bits | np.uint32(1 << 31))


def _values(keys: np.ndarray) -> np.ndarray:
    """float64[n], the values that `_keys` made uint32[n] of, with 0 for -0."""
    bits = np.where(keys >> np.uint32(31) == 1, keys ^ np.uint32(1 << 31), ~keys)
    return bits.view(np.float32).astype(np.float64) + 0.0
