"""A sketch counts float32 values by their upper 16 bits, however few or many there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.statistics import sketch
from headrace.components.statistics.sketch import sketch_of

FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, 1.0, -1.0, float("inf"), float("-inf")])


@given(st.lists(FLOATS, max_size=200))
def test_few_values_are_counted_as_many_are(values: list[float]) -> None:
    numbers = np.array(values, dtype=np.float32) + np.float32(0)
    few = sketch_of(numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "_FEW_VALUES", 0)
        many = sketch_of(numbers)
    assert few == many
    assert (few.bins.dtype, few.counts.dtype) == (many.bins.dtype, many.counts.dtype)
    assert few.total == len(values)


@given(st.lists(FLOATS, max_size=50), st.lists(FLOATS, max_size=50))
def test_the_sketch_of_parts_is_that_of_all(first: list[float], second: list[float]) -> None:
    parts = [np.array(values, dtype=np.float32) + np.float32(0) for values in (first, second)]
    assert sketch_of(parts[0]).merge(sketch_of(parts[1])) == sketch_of(np.concatenate(parts))
