import polars as pl
import pytest

from components.errors import DataError
from components.examples.settings import CategoryLabel, NumberFeature
from components.examples.table import example_table
from components.examples.validation import check_part
from components.sources.part import RawPart

FEATURES = {"x": NumberFeature(nullable=True)}
LABEL = CategoryLabel(name="y", classes=("a", "b"))


def part(numbers, keys, *, given_split=None, key=()):
    table = pl.DataFrame({"id": keys, "x": pl.Series(numbers, dtype=pl.String), "y": ["a"] * len(keys)})
    raw = RawPart(table, dict.fromkeys(table.columns, "rows.csv"), given_split)
    return check_part(raw, features=FEATURES, label=LABEL, key=key)


def test_rows_are_sorted_by_id_whatever_their_order_was() -> None:
    one = example_table([part(["1", None, "3"], ["p", "q", "r"])])
    other = example_table([part(["3", "1"], ["r", "p"]), part([None], ["q"])])
    assert one.equals(other)
    assert one["example_id"].is_sorted()
    assert one.columns == ["example_id", "x", "y"]


def test_equal_content_has_equal_ids() -> None:
    assert example_table([part(["1", "1.0"], ["p", "q"])])["example_id"].n_unique() == 1


def test_a_key_keeps_its_id_when_the_content_changes() -> None:
    before, after = (example_table([part([x], ["p"], key=["id"])], key=["id"]) for x in ("1", "2"))
    assert before["example_id"].to_list() == after["example_id"].to_list()


def test_a_repeated_key_is_an_error_that_shows_it() -> None:
    with pytest.raises(DataError, match="2 rows share their key with another; the first has id = q"):
        example_table([part(["1", "2"], ["p", "q"], key=["id"]), part(["3"], ["q"], key=["id"])], key=["id"])


def test_given_splits_are_kept() -> None:
    table = example_table([part(["1"], ["p"], given_split="train"), part(["2"], ["q"], given_split="test")])
    assert dict(zip(table["x"], table["given_split"], strict=True)) == {1.0: "train", 2.0: "test"}


def test_given_split_for_some_parts_only_is_an_error() -> None:
    with pytest.raises(DataError, match="for all parts or for none"):
        example_table([part(["1"], ["p"], given_split="train"), part(["2"], ["q"])])
