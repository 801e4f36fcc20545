"""Rows that a person brings, checked."""

import polars as pl
import pytest

from components.errors import DataError
from components.evaluation.rows import checked_rows
from components.examples.settings import CategoryFeature, Feature, ImageFeature, NumberFeature


def _check(table: dict[str, list[object]], feature: Feature) -> tuple[list[object], list[str]]:
    warnings: list[str] = []
    checked = checked_rows(pl.DataFrame(table, strict=False), features={"x": feature}, warn=warnings.append)
    return checked["x"].to_list(), warnings


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        ([1, 2], NumberFeature(), [1.0, 2.0]),
        ([" 1.5", "", None], NumberFeature(nullable=True), [1.5, None, None]),  # as read from CSV
        ([float("nan"), 1.0], NumberFeature(nullable=True), [None, 1.0]),  # pandas' missing value
        ([None, None], NumberFeature(nullable=True), [None, None]),  # JSON lines: a column of nothing but null
        (["01", "", None], CategoryFeature(nullable=True), ["01", None, None]),
        ([1, 2], CategoryFeature(), ["1", "2"]),
        ([1.0, None], CategoryFeature(nullable=True), ["1", None]),  # pandas' integers beside a missing value
        ([[0, 255]], ImageFeature(height=1, width=2), [[0, 255]]),
    ],
)
def test_values_become_those_of_example_rows(values: list[object], feature: Feature, expected: list[object]) -> None:
    assert _check({"x": values, "more": [0] * len(values)}, feature) == (expected, [])


@pytest.mark.parametrize(
    ("table", "feature", "message"),
    [
        ({"X": [1]}, NumberFeature(), "no column 'x' among 'X'"),
        ({"x": []}, NumberFeature(), "no rows"),
        ({"x": ["1", "two"]}, NumberFeature(), "column 'x', row 2: found 'two', expected a number"),
        ({"x": [1, None]}, NumberFeature(), "column 'x', row 2: found None, expected a value"),
        ({"x": ["1", "inf"]}, NumberFeature(), "row 2: found 'inf', expected a finite number"),
        ({"x": [[1]]}, NumberFeature(), "expected numbers"),
        ({"x": ["a", ""]}, CategoryFeature(), "row 2: found '', expected a value"),
        ({"x": [1.5]}, CategoryFeature(), "has type Float64; expected categories"),
        ({"x": [[1, 2, 3]]}, ImageFeature(height=1, width=2), r"expected lists of 2 \(1 x 2 x 1\)"),
        ({"x": [[1, 300]]}, ImageFeature(height=1, width=2), "whole numbers from 0 to 255"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, list[object]], feature: Feature, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _check(table, feature)


def test_unknown_categories_and_numbers_out_of_range_are_warned_of_with_their_count() -> None:
    values, warnings = _check({"x": ["a", "z", None, "y"]}, CategoryFeature(nullable=True, classes=("a", "b")))
    assert values == ["a", "z", None, "y"]
    assert warnings == ["column 'x': 2 of 4 values are none of a, b, and count as 'other', for example 'z'"]

    assert _check({"x": [1, -1, None]}, NumberFeature(nullable=True, minimum=0))[1] == [
        "column 'x': 1 of 3 values are outside of 0 to inf"
    ]
