"""Numbers as users write them."""

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.examples.validation import check_part, describe
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.number_format import NumberFormat
from headrace.components.schema.numbers import as_number
from headrace.components.sources.raw_part import RawPart


def read(texts: list[str], number_format: NumberFormat) -> list[float | None]:
    table = pl.DataFrame({"x": texts})
    return table.select(as_number(pl.col("x"), pl.String(), number_format)).to_series().to_list()


# format, text, number: None where the text is not written so
CELLS = [
    ({"decimal": ","}, "622,90", 622.9),
    ({"decimal": ","}, "-3", -3),
    ({"decimal": ","}, "622.90", None),  # points are no thousands here
    ({"thousands": ","}, "1,234.50", 1234.5),
    ({"thousands": ","}, "12,34,567", 1234567),  # India's groups
    ({"thousands": ","}, "1,23", None),
    ({"thousands": ","}, "0,125", None),
    ({"decimal": ",", "thousands": "."}, "1.234,50", 1234.5),
    ({"decimal": ",", "thousands": "."}, "1.234.567", 1234567),
    ({"decimal": ",", "thousands": " "}, "1 234,50", 1234.5),
    ({"decimal": ",", "thousands": " "}, "1\N{NO-BREAK SPACE}234,50", 1234.5),
    ({"decimal": ",", "thousands": " "}, "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567", 1234567),
    ({"thousands": "'"}, "1'234.5", 1234.5),
    ({"thousands": "'"}, "1\N{RIGHT SINGLE QUOTATION MARK}234", 1234),
    ({"thousands": ",", "unit": "$"}, "$1,200", 1200),
    ({"thousands": ",", "unit": "$"}, "-$1,200", -1200),
    ({"thousands": ",", "unit": "$"}, "$-1,200", -1200),
    ({"thousands": ",", "unit": "$"}, "1,200", 1200),
    ({"thousands": ",", "unit": "$"}, "€1,200", None),  # another currency is another number
    ({"unit": "EUR"}, "EUR 5", 5),
    ({"unit": "EUR"}, "5 EUR", 5),
    ({"unit": "EUR"}, "EUR 5 EUR", None),
    ({"unit": "m2"}, "12 m2", 12),  # a digit of the unit is none of the number
    ({"unit": "%"}, "12.5%", 12.5),
    ({"unit": "%"}, "12.5 %", 12.5),
    ({"unit": "%"}, "0.5", None),  # half a per cent, or a half
    ({"negative": "parentheses", "thousands": ","}, "(1,200)", -1200),
    ({"negative": "parentheses", "unit": "$"}, "($5)", -5),
    ({"negative": "parentheses", "unit": "$"}, "$(5)", -5),
    ({"negative": "parentheses"}, "-5", -5),
    ({"negative": "parentheses"}, "(5", None),
    ({"negative": "trailing"}, "5-", -5),
    ({"negative": "trailing", "unit": "EUR"}, "5- EUR", -5),
    ({"negative": "trailing"}, "-5-", None),
    ({}, "\N{MINUS SIGN}5", -5),
    ({}, "1e-3", 0.001),
    ({}, " 5 ", 5),
    ({}, "(5)", None),
    ({}, "5-", None),
    ({}, "", None),
]


@pytest.mark.parametrize(("settings", "text", "number"), CELLS)
def test_a_cell_is_the_number_that_its_format_says(settings, text, number) -> None:
    assert read([text], NumberFormat.model_validate(settings)) == [number]


formats = st.builds(
    NumberFormat,
    decimal=st.just("."),
    thousands=st.sampled_from(["", ",", " ", "'"]),
    unit=st.sampled_from(["", "$", "EUR", "%", "US$", "Fr."]),
    negative=st.sampled_from(["minus", "parentheses", "trailing"]),
) | st.builds(
    NumberFormat,
    decimal=st.just(","),
    thousands=st.sampled_from(["", ".", " ", "'"]),
    unit=st.sampled_from(["", "€", "kr", "%"]),
    negative=st.sampled_from(["minus", "parentheses", "trailing"]),
)


def write(cents: int, one: NumberFormat, *, in_front: bool) -> str:
    """The number as a spreadsheet would show it."""
    digits = f"{abs(cents) // 100:,}".replace(",", one.thousands) + f"{one.decimal}{abs(cents) % 100:02}"
    if cents < 0:
        digits = {"minus": f"-{digits}", "parentheses": f"({digits})", "trailing": f"{digits}-"}[one.negative]
    return f"{one.unit} {digits}".strip() if in_front else f"{digits} {one.unit}".strip()


@given(formats, st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=5), st.booleans())
def test_what_is_written_in_a_format_is_read_in_it(one, numbers, in_front) -> None:
    texts = [write(cents, one, in_front=in_front) for cents in numbers]
    assert read(texts, one) == [float(Fraction(cents, 100)) for cents in numbers]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_plain_numbers_stay_what_they_are(number) -> None:
    assert read([repr(number)], NumberFormat()) == [number]


@pytest.mark.parametrize(
    "settings", [{"decimal": ",", "thousands": ","}, {"unit": "5"}, {"unit": ","}, {"unit": "(x"}, {"unit": " a"}]
)
def test_a_format_in_which_no_number_could_be_recognized_is_refused(settings) -> None:
    with pytest.raises(ValidationError):
        NumberFormat.model_validate(settings)


def test_a_cell_that_is_written_otherwise_is_a_rejected_row() -> None:
    money = {"thousands": ",", "unit": "$"}
    schema = ExampleSchema.model_validate(
        {
            "features": {"x": {"type": "number", "number_format": money}},
            "label": {"type": "number", "name": "y", "number_format": {"decimal": ",", "thousands": "."}},
        }
    )
    table = pl.DataFrame({"x": ["$1,200", "12,00", "$5", "$9,007,199,254,740,993"], "y": ["1,5", "2", "1.5", "3"]})
    checked = check_part(RawPart(table, {"x": "rows.csv", "y": "rows.csv"}), schema)
    assert checked.typed.rows() == [(1200.0, 1.5)]
    assert [describe(row) for row in checked.rejected.iter_rows(named=True)] == [
        "rows.csv, row 2, column 'x': expected a number such as -1,234.5 $, found '12,00'",
        "rows.csv, row 3, column 'y': expected a number such as -1.234,5, found '1.5'",
        "rows.csv, row 4, column 'x': expected a whole number that float64 can hold, found '$9,007,199,254,740,993'",
    ]


def test_numbers_of_a_typed_file_are_what_they_are() -> None:
    schema = ExampleSchema.model_validate(
        {
            "features": {"x": {"type": "number", "number_format": {"decimal": ","}}},
            "label": {"type": "number", "name": "y"},
        }
    )
    table = pl.DataFrame({"x": [1.5, 2.0], "y": [1, 2]})
    checked = check_part(RawPart(table, {"x": "rows.parquet", "y": "rows.parquet"}), schema)
    assert checked.typed["x"].to_list() == [1.5, 2.0]


def test_a_sum_is_of_numbers_in_its_format() -> None:
    both = {"type": "number", "sum_of": ["a", "b"], "number_format": {"decimal": ","}}
    schema = ExampleSchema.model_validate({"features": {"x": both}, "label": {"type": "number", "name": "y"}})
    table = pl.DataFrame({"a": ["1,5"], "b": ["2"], "y": ["0"]})
    assert check_part(RawPart(table, dict.fromkeys("aby", "rows.csv")), schema).typed["x"].to_list() == [3.5]
