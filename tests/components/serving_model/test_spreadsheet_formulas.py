"""Cells that a spreadsheet would run."""

import polars as pl
import pytest

from headrace.components.serving_model.spreadsheet_formulas import count_formulas, escape_formulas


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|calc", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "\uff1d1", "-", "--1"]
)
def test_a_cell_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    table = pl.DataFrame({"a": [text, "b", None], "n": [-1.0, 2.0, None]})
    assert count_formulas(table) == 1
    escaped = escape_formulas(table)
    assert escaped.to_dict(as_series=False) == {"a": [f"'{text}", "b", None], "n": [-1.0, 2.0, None]}
    assert count_formulas(escaped) == 0


@pytest.mark.parametrize("text", ["-5", "+1.5", "-1e-3", "-.5", "a=1", "", " =1", "'=1", "1-1"])
def test_numbers_and_other_text_stay(text: str) -> None:
    table = pl.DataFrame({"a": [text]})
    assert count_formulas(table) == 0
    assert escape_formulas(table).equals(table)


def test_the_name_of_a_column_is_a_cell() -> None:
    table = pl.DataFrame({"=a": [1], "probability_=a": [0.5]})
    assert count_formulas(table) == 1
    assert escape_formulas(table).columns == ["'=a", "probability_=a"]
