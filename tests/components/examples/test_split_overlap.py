"""Which held-out rows have content that another split has."""

import numpy as np
import polars as pl
import pytest

from headrace.components.examples.split_overlap import Overlap

ROWS = pl.DataFrame({"example_id": [1, 2, 3, 4], "content_id": [11, 12, 13, 14]}).cast(pl.UInt64)


@pytest.mark.parametrize(
    ("split", "covered"),
    [("validation", [True, True, False, False]), ("test", [True, False, False, False])],
)
def test_validation_rows_yield_to_training_and_test_and_test_rows_to_training_alone(split, covered):
    overlap = Overlap(training=np.array([11], np.uint64), test=np.array([12], np.uint64))
    assert overlap.covers(ROWS, split).to_list() == covered


def test_without_a_key_the_id_is_the_content():
    overlap = Overlap(training=np.array([3], np.uint64), test=np.empty(0, np.uint64))
    assert overlap.covers(ROWS.drop("content_id"), "test").to_list() == [False, False, True, False]
    assert overlap.covers(ROWS, "test").to_list() == [False] * 4
