"""Blocks of rows, cut into groups of one length."""

from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.files.tables import read_file, read_metadata, write_parts
from headrace.components.mapping import read_ahead
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.serving_model.prediction_files import InputRows, in_groups, joined, numbered
from headrace.components.serving_model.row_counts import RowCounts


def _blocks(lengths: list[int]) -> list[InputRows]:
    blocks, first = [], 0
    for length in lengths:
        values = list(range(first, first + length))
        blocks.append(InputRows(pl.DataFrame({"key": [str(value) for value in values]}), pl.DataFrame({"x": values})))
        first += length
    return blocks


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), rows=st.integers(1, 12))
def test_every_row_is_in_one_group_in_order_and_all_groups_but_the_last_are_full(lengths: list[int], rows: int) -> None:
    groups = list(in_groups(numbered(iter(_blocks(lengths))), rows))
    total = sum(lengths)
    assert [one.examples.height for one in groups] == [rows] * (total // rows) + (
        [total % rows] if total % rows else []
    )
    found = joined(groups)
    assert found.examples["x"].to_list() == list(range(total))
    assert found.origin["row"].to_list() == list(range(1, total + 1))
    assert found.origin["key"].to_list() == [str(value) for value in range(total)]


@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_counts_of_blocks_are_those_of_all_rows(cuts: list[int]) -> None:
    features = {
        "n": NumberFeature(nullable=True, minimum=0),
        "c": CategoryFeature(nullable=True, pattern="[a-z]"),
    }
    rows = sum(cuts)
    table = pl.DataFrame(
        {
            "n": [None if place % 3 == 0 else float(1 - place) for place in range(rows)],
            "c": [None if place % 4 == 1 else ["a", "B", "1.0", "?"][place % 4] for place in range(rows)],
        },
        schema={"n": pl.Float64, "c": pl.String},
    )
    known = {"c": frozenset({"a", "1"})}

    def warnings(parts: Iterator[pl.DataFrame]) -> tuple[list[str], list[str | None]]:
        counts, said, values = RowCounts(), [], []
        for part in parts:
            counts.add(part, features)
            values += counts.as_known(part, known)["c"].to_list()
        counts.report(said.append)
        return said, values

    starts = [sum(cuts[:place]) for place in range(len(cuts))]
    parts = (table[start : start + length] for start, length in zip(starts, cuts, strict=True))
    assert warnings(parts) == warnings(iter([table]))


def test_items_that_are_read_ahead_come_in_order_and_an_error_where_it_is() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    found = []
    with pytest.raises(ValueError, match="the fourth"):
        for item in read_ahead(items()):
            found.append(item)  # noqa: PERF402 - what came before the error is kept
    assert found == [0, 1, 2]
    ahead = read_ahead(items())
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    ahead.close()


def test_parts_make_one_file_with_its_texts_and_types(tmp_path) -> None:
    table = pl.DataFrame(
        {"row": [1, 2, 3], "kind": ["a", None, "b"], "pixels": [[0, 1], [2, 3], [4, 255]]},
        schema={"row": pl.Int64, "kind": pl.String, "pixels": pl.Array(pl.UInt8, 2)},
    )
    file = tmp_path / "whole.parquet"
    assert write_parts((table[start : start + 1] for start in range(3)), file, metadata={"made by": "größe"}) == 3
    assert read_file(file).equals(table)
    assert read_file(file).schema == table.schema
    assert read_metadata(file)["made by"] == "größe"
