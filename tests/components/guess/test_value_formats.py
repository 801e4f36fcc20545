"""How the numbers and dates of a table are written."""

import polars as pl
import pytest

from headrace.components.guess.columns import guess_table
from headrace.components.guess.value_formats import how_written

ROWS = 240


def column(*values: str | None) -> list[str | None]:
    return [values[row % len(values)] for row in range(ROWS)]


# texts, the number_format that is found; None for plain numbers, and for what is none
NUMBERS = [
    (("1,5", "-12,25", "3"), {"decimal": ","}),
    (("1,234", "12,345,678"), {"thousands": ","}),
    (("1,234.50", "7"), {"thousands": ","}),
    (("1.234,50", "7"), {"decimal": ",", "thousands": "."}),
    (("1.234.567", "7"), {"decimal": ",", "thousands": "."}),
    (("1\N{NO-BREAK SPACE}234,5", "1,5"), {"decimal": ",", "thousands": " "}),
    (("1 234", "1"), {"thousands": " "}),
    (("1'234.50", "1"), {"thousands": "'"}),
    (("$1,200", "-$7"), {"thousands": ",", "unit": "$"}),
    (("US$ 5", "US$ 7.25"), {"unit": "US$"}),
    (("12,50 €", "7 €"), {"decimal": ",", "unit": "€"}),
    (("EUR 5", "7 EUR"), {"unit": "EUR"}),
    (("12.5%", "7 %"), {"unit": "%"}),
    (("(1,200)", "7"), {"thousands": ",", "negative": "parentheses"}),
    (("($5.00)", "$7.00"), {"unit": "$", "negative": "parentheses"}),
    (("1,5-", "7,0"), {"decimal": ",", "negative": "trailing"}),
    (("\N{MINUS SIGN}5", "7"), {}),  # plain but for the sign
    (("1.5", "7"), None),
    (("1.234", "2.345"), None),
    (("$5", "€7"), None),  # two currencies are not one quantity
    (("50%", "0.5"), None),
    (("A1", "B2"), None),
    (("1.2.3", "4.5.6"), None),
]


@pytest.mark.parametrize(("texts", "found"), NUMBERS)
def test_a_number_format_is_found(texts, found) -> None:
    written = how_written(pl.DataFrame({"x": column(*texts, None)}))
    assert written.get("x") == found or written["x"].settings == {"number_format": found}


def test_what_fits_twice_is_read_as_the_other_columns_are() -> None:
    table = pl.DataFrame({"x": column("1,234", "2,345"), "y": column("1.234", "2.345")})
    found = how_written(table)["x"]
    assert (found.settings, found.other) == ({"number_format": {"thousands": ","}}, "{decimal: ','}")
    for hints, separator in (({"z": column("0,5", "1,25")}, ","), ({}, ";")):
        found = how_written(
            table.with_columns(**{name: pl.Series(one) for name, one in hints.items()}), separator=separator
        )
        assert found["x"].settings == {"number_format": {"decimal": ","}}
        assert found["y"].settings == {"number_format": {"decimal": ",", "thousands": "."}}
        assert (found["x"].other, found["y"].other) == ("{thousands: ','}", "null")


# texts, date_format, another that fits
DATES = [
    (("06/09/2026", "04/02/2026"), "%m/%d/%Y", "'%d/%m/%Y'"),
    (("06-09-2026", "04-02-2026"), "%d-%m-%Y", "'%m-%d-%Y'"),
    (("06/09/2026 10:30", "04/02/2026 11:00"), "%m/%d/%Y %H:%M", "'%d/%m/%Y %H:%M'"),
    (("06/09/26", "04/02/26"), "%m/%d/%y", "'%d/%m/%y'"),
    (("06/29/2026", "04/02/2026"), "%m/%d/%Y", None),
    (("29/06/2026", "04/02/2026"), "%d/%m/%Y", None),
    (("06.09.2026", "04.02.2026"), "%d.%m.%Y", None),
    (("2026-09-06", "2026-02-04"), "iso", None),
    (("Jun 12 1998", "Aug 07 1998"), "%b %d %Y", None),
]


@pytest.mark.parametrize(("texts", "chosen", "other"), DATES)
def test_a_date_format_is_found_and_the_other_that_fits(texts, chosen, other) -> None:
    found = how_written(pl.DataFrame({"x": column(*texts)}))["x"]
    assert (found.date_format, found.other) == (chosen, other)


def test_a_date_that_fits_twice_is_read_as_the_others_are() -> None:
    table = pl.DataFrame({"x": column("06/09/2026"), "y": column("29/06/2026")})
    assert how_written(table)["x"].date_format == "%d/%m/%Y"


def test_doubts_are_said_with_the_key_that_settles_them() -> None:
    table = pl.DataFrame(
        {
            "d": column("06/09/2026", "04/02/2026", "01/01/2026"),
            "n": column("1,234", "2,345"),
            "p": column("$5", "7"),
            "y": column("a", "b", "b"),
        }
    )
    date, number, bare = sorted(guess_table(table, targets=["y"]).warnings)
    assert date.endswith("'%d/%m/%Y' fits as well; if that is meant, set ingest.features.d.date_format to it")
    assert number.endswith("{decimal: ','} fits as well; if that is meant, set ingest.features.n.number_format to it")
    assert bare == "'p': some numbers have no $, such as '7'; all are read as the same unit"
    assert guess_table(table.select("y", p=pl.Series(column("$5", "$7"))), targets=["y"]).warnings == ()
