"""Rows to predict: the values that ingest would store, or its refusal."""

from pathlib import Path

import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.features import Feature
from headrace.components.serving_model.prediction_files import read_rows
from headrace.components.serving_model.prediction_rows import as_known, image_rows, rows_of
from headrace.components.sources.json_lines import json_blocks


def _read(values: list[object], feature: Feature) -> tuple[list[object], list[str]]:
    warnings: list[str] = []
    rows = rows_of([{"x": value, "more": 0} for value in values], {"x": feature}, warn=warnings.append)
    return rows["x"].to_list(), warnings


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        ([1, 2], NumberFeature(), [1.0, 2.0]),
        ([" 1.5", None], NumberFeature(nullable=True), [1.5, None]),
        (["01", "", None], CategoryFeature(nullable=True), ["01", None, None]),
        ([1, 2], CategoryFeature(), ["1", "2"]),
        ([True, False], CategoryFeature(), ["true", "false"]),
        (["2026-11-20"], NumberFeature(date_format="iso"), [20777.0]),
    ],
)
def test_values_become_those_of_example_rows(values: list[object], feature: Feature, expected: list[object]) -> None:
    assert _read(values, feature) == (expected, [])


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        (["1", "two"], NumberFeature(), "the rows, row 2, column 'x': expected a number, found 'two'"),
        ([1, None], NumberFeature(), "row 2, column 'x': expected a number, found nothing"),
        (["1", "inf"], NumberFeature(), "row 2, column 'x': expected a finite number, found 'inf'"),
        ([True], NumberFeature(), "row 1, column 'x': expected a number, found 'true'"),
        (["a", ""], CategoryFeature(), "row 2, column 'x': expected a value, found ''"),
        ([2**53 + 1], NumberFeature(), "expected a whole number that float64 can hold, found '9007199254740993'"),
        (["?", "?", "1"], NumberFeature(), "row 1, .*; 1 more rows do not fit either"),
    ],
)
def test_what_is_wrong_is_named(values: list[object], feature: Feature, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _read(values, feature)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="the rows: no column 'y'; found more, x"):
        rows_of([{"x": 1, "more": 2}], {"y": NumberFeature()}, warn=pytest.fail)


def test_a_wrong_row_is_counted_over_all_blocks(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n' * 20 + '{"x": "?"}\n' + '{"x": [1]}\n')
    schema = RowSchema(features={"x": NumberFeature()})
    with pytest.raises(DataError, match=r"a\.jsonl, row 21, column 'x'"):
        read_rows(json_blocks(tmp_path / "a.jsonl", columns=["x"], block_bytes=20), schema, warn=pytest.fail)


def test_numbers_out_of_range_and_columns_without_a_value_are_warned_of() -> None:
    values, warnings = _read([1, -1, None], NumberFeature(nullable=True, minimum=0))
    assert values == [1.0, -1.0, None]
    assert warnings == ["column 'x': 1 of 3 values are outside of 0 to inf"]
    assert _read([None, None], NumberFeature(nullable=True))[1] == ["column 'x': no row has a value"]


@pytest.mark.parametrize(
    ("values", "known", "expected", "warning"),
    [
        (["a", "b", None], {"a", "b"}, ["a", "b", None], None),
        (["a", "z", None, "y"], {"a", "b"}, ["a", "z", None, "y"], "2 of 4 values were not seen in training"),
        (["1.0", "2.00", "-3.0"], {"1", "2", "-3"}, ["1", "2", "-3"], "3 of 3 values are whole numbers in another"),
        (["1", "2"], {"1.0", "2.0"}, ["1.0", "2.0"], "for example '1' for '1.0'"),
        (["1.5", "01.0", "1.0e0", "٣.0"], {"1", "3"}, ["1.5", "01.0", "1.0e0", "٣.0"], "4 of 4 values were not seen"),
        (["01", "1"], {"01", "1", "1.0"}, ["01", "1"], None),  # codes stay what they are
    ],
)
def test_categories_that_the_model_does_not_know_are_counted(
    values: list[str | None], known: set[str], expected: list[str | None], warning: str | None
) -> None:
    warnings: list[str] = []
    rows = as_known(pl.DataFrame({"x": values}), {"x": frozenset(known)}, warn=warnings.append)
    assert rows["x"].to_list() == expected
    assert len(warnings) == (warning is not None)
    assert (warning or "") in "".join(warnings)


def test_images_in_a_table_are_lists_of_pixels() -> None:
    feature = ImageFeature(height=1, width=2)
    assert image_rows(pl.DataFrame({"x": [[0, 255]]}), name="x", feature=feature)["x"].to_list() == [[0, 255]]
    for wrong, message in (([[1, 2, 3]], r"expected lists of 2 \(1 x 2 x 1\)"), ([[1, 300]], "from 0 to 255")):
        with pytest.raises(DataError, match=message):
            image_rows(pl.DataFrame({"x": wrong}), name="x", feature=feature)


def test_numbers_are_read_in_the_format_that_ingest_reads() -> None:
    feature = NumberFeature.model_validate({"number_format": {"thousands": ",", "unit": "$"}})
    assert _read(["$1,200", "-$5", "7"], feature)[0] == [1200, -5, 7]
    with pytest.raises(DataError, match=r"expected a number such as -1,234\.5 \$, found '1\.200,5'"):
        _read(["1.200,5"], feature)
