import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.examples.table import (
    RepeatedError,
    example_table,
    merge_examples,
    repeated_words,
    unique_words,
)
from headrace.components.examples.validation import check_part
from headrace.components.schema.example_schema import ExampleSchema, TimeColumn
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.sources.raw_part import RawPart

SCHEMA = ExampleSchema(features={"x": NumberFeature(nullable=True)}, label=CategoryLabel(name="y", classes=("a", "b")))
KEYED = SCHEMA.model_copy(update={"key": ("id",)})


def table_of(numbers, keys, schema=SCHEMA, *, given_split=None):
    raw = pl.DataFrame({"id": keys, "x": pl.Series(numbers, dtype=pl.String), "y": ["a"] * len(keys)})
    return example_table(check_part(RawPart(raw, dict.fromkeys(raw.columns, "rows.csv"), given_split), schema), schema)


def merge(*tables, repeated="refuse", duplicates="keep"):
    return merge_examples(
        pa.concat_tables(table.to_arrow() for table in tables), repeated=repeated, duplicates=duplicates
    )


def test_rows_are_sorted_by_id_whatever_their_order_was() -> None:
    one, _ = merge(table_of(["1", None, "3"], ["p", "q", "r"]))
    other, _ = merge(table_of(["3", "1"], ["r", "p"]), table_of([None], ["q"]))
    assert one.equals(other)
    assert one["example_id"].is_sorted()
    assert one.columns == ["example_id", "x", "y"]


def test_equal_content_has_equal_ids() -> None:
    assert table_of(["1", "1.0"], ["p", "q"])["example_id"].n_unique() == 1


def test_a_key_keeps_its_id_when_the_content_changes() -> None:
    before, after = (table_of([x], ["p"], KEYED) for x in ("1", "2"))
    assert before["example_id"].to_list() == after["example_id"].to_list()
    assert before["content_id"].to_list() != after["content_id"].to_list()


def test_a_group_has_one_id_and_a_time_is_kept_in_utc() -> None:
    schema = SCHEMA.model_copy(update={"group": ("y",), "time": TimeColumn(column="id")})
    table = table_of(["1", "2"], ["2026-11-20T01:00:00+01:00", "2026-11-20"], schema)
    assert table.columns == ["example_id", "group_id", "time", "x", "y"]
    assert table["group_id"].n_unique() == 1
    assert {str(time) for time in table["time"]} == {"2026-11-20 00:00:00+00:00"}


@pytest.mark.parametrize(("repeated", "kept"), [("first", 1.0), ("last", 3.0)])
def test_of_rows_with_one_key_the_first_or_the_last_of_the_source_stays(repeated, kept) -> None:
    table, left_out = merge(table_of(["1", "2"], ["q", "p"], KEYED), table_of(["3"], ["q"], KEYED), repeated=repeated)
    assert (sorted(table["x"]), left_out) == (sorted([kept, 2.0]), 1)


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(RepeatedError) as caught:
        merge(table_of(["1", "2"], ["p", "q"], KEYED), table_of(["3"], ["q"], KEYED))
    assert caught.value.rows == 2
    assert caught.value.ids == table_of(["3"], ["q"], KEYED)["example_id"].to_list()


def test_equal_rows_without_a_key_are_kept_dropped_or_refused() -> None:
    tables = [table_of(["1", "2"], ["p", "q"]), table_of(["1"], ["r"])]
    assert merge(*tables)[1] == 0
    assert merge(*tables, duplicates="drop")[1] == 1
    with pytest.raises(RepeatedError):
        merge(*tables, duplicates="refuse")


def test_given_splits_are_kept() -> None:
    table, _ = merge(table_of(["1"], ["p"], given_split="train"), table_of(["2"], ["q"], given_split="test"))
    assert dict(table.select("x", "given_split").iter_rows()) == {1.0: "train", 2.0: "test"}


@given(st.lists(st.integers(0, 30)), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_repeated_words_are_found_however_few_are_sorted_together(numbers, at_once) -> None:
    expected = sorted({number for number in numbers if numbers.count(number) > 1})
    assert repeated_words(np.array(numbers, np.uint64), at_once=at_once).tolist() == expected


def test_missing_values_do_not_repeat_each_other() -> None:
    schema = SCHEMA.model_copy(update={"features": {"x": NumberFeature(nullable=True, unique=True)}})
    raw = pl.DataFrame({"x": pl.Series([None, None, "1", "1.0"]), "y": ["a"] * 4})
    words = unique_words(check_part(RawPart(raw, dict.fromkeys(raw.columns, "rows.csv")), schema), schema)
    assert len(words["x"]) == 2
    assert len(repeated_words(words["x"])) == 1
