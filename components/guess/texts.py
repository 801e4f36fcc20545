"""What texts stand for: plain numbers, dates and times. As ingest reads them, or not at all."""

import polars as pl

from headrace.components.schema.times import parse_time

_DAYS = (
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%b %d %Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%B %d, %Y",
    "%d %B %Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
)
_TIMES = ("", " %H:%M", " %H:%M:%S")
_DATE_FORMATS = ("iso", *(f"{day}{time}" for time in _TIMES for day in _DAYS))
_EXACT_INTEGERS = 2.0**53


def as_numbers(texts: pl.Series) -> pl.Series:
    """Return texts as Float64, null where ingest would not take a text for a number: `inf`, or too many digits."""
    text = pl.col("text").str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    is_exact = (number.abs() < _EXACT_INTEGERS) | ~text.str.contains(r"^[+-]?[0-9]+$")
    return pl.DataFrame({"text": texts}).select(pl.when(number.is_finite() & is_exact).then(number)).to_series()


def date_formats(texts: pl.Series) -> tuple[str, ...]:
    """Return the formats in which all texts are dates or times, the likeliest first; none where there are no texts."""
    table = pl.DataFrame({"text": texts})
    if not len(texts) or not texts[:1].str.contains("[0-9]").all():
        return ()
    has_short_years = texts.str.contains(r"[./]\d{2}(?:\s|$)").all()  # or 1.2.3 would be a day
    formats = [one for one in _DATE_FORMATS if has_short_years or "%y" not in one]
    return tuple(one for one in formats if _fits(table[:100], one) and _fits(table, one))


def _fits(table: pl.DataFrame, one: str) -> bool:
    return not table.select(parse_time(pl.col("text"), one).is_null().any()).item()
