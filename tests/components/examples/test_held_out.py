import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.examples.held_out import measured_examples
from headrace.components.schema.split_settings import Split

ALL_TEST = Split(validation_fraction=0.0, test_fraction=0.999999999)


def table(*ids: int) -> pl.LazyFrame:
    return pl.LazyFrame({"example_id": pl.Series(ids, dtype=pl.UInt64), "spin": [float(number) for number in ids]})


def test_the_raw_rows_of_a_split_come_sorted_and_with_their_repetitions() -> None:
    test = table(3, 3, 4).select("example_id", label=1)
    assert measured_examples(table(4, 3, 1, 3, 2), test, split=ALL_TEST).rows() == [(3, 3.0), (3, 3.0), (4, 4.0)]


def test_a_training_row_of_the_same_content_is_not_among_them() -> None:
    given = table(1, 2, 2).with_columns(given_split=pl.Series(["train", "train", "test"]))
    rows = measured_examples(given, table(2), split=Split(validation_fraction=0.5))
    assert rows["given_split"].to_list() == ["test"]


@pytest.mark.parametrize("ids", [(1, 9), (3,)])
def test_a_split_of_other_examples_is_an_error(ids) -> None:
    with pytest.raises(DataError, match="run `headrace normalize` and `headrace split` again"):
        measured_examples(table(1, 2, 3, 3), table(*ids), split=ALL_TEST)
