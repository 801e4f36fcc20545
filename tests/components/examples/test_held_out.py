import polars as pl
import pytest

from components.errors import DataError
from components.examples.held_out import held_out_examples


def table(*ids: int) -> pl.LazyFrame:
    return pl.LazyFrame({"example_id": pl.Series(ids, dtype=pl.UInt64), "spin": [float(number) for number in ids]})


def test_the_raw_rows_of_a_split_come_sorted_and_with_their_repetitions() -> None:
    split = table(3, 3, 4).select("example_id", label=1)
    assert held_out_examples(table(4, 3, 1, 3, 2), split).rows() == [(3, 3.0), (3, 3.0), (4, 4.0)]


@pytest.mark.parametrize("ids", [(1, 9), (3,)])
def test_a_split_of_other_examples_is_an_error(ids) -> None:
    with pytest.raises(DataError, match="run `headrace normalize` and `headrace split` again"):
        held_out_examples(table(1, 2, 3, 3), table(*ids))
