"""Columns of dates and times, as text, to moments in UTC."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial

import polars as pl

from headrace.components.schema.date_formats import iso_moment_of, moment_of

MICROSECONDS_A_DAY = 86_400_000_000
_DTYPE = pl.Datetime("us", "UTC")
_ISO = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
)
# Formats that Polars reads as strptime does wherever it writes the same text again.
_PLAIN = re.compile(r"(?:%[YmdHMSf]|[^%])*")


def parse_time(text: pl.Expr, date_format: str) -> pl.Expr:
    """Return the text as Datetime("us", "UTC"); null where it is not written so. A time without a zone is in UTC.

    Also null before the year 1000: %Y reads `0026-11-20` as a day of the year 26, and 0001-01-01 stands for no date.
    """
    text = text.str.strip_chars()
    if date_format == "iso":
        fast = [text.str.to_datetime(one, time_unit="us", time_zone="UTC", strict=False) for one in _ISO]
        slow = iso_moment_of
    else:
        date_format = date_format.strip()
        fast, slow = _plain(text, date_format), partial(moment_of, date_format=date_format)
    rest = pl.when(pl.coalesce(fast).is_null()).then(text) if fast else text
    read = rest.map_batches(partial(_read_each, read=slow), return_dtype=_DTYPE, is_elementwise=True)
    time = pl.coalesce(*fast, read)
    return pl.when(time.dt.year() >= 1000).then(time)


def written(date_format: str) -> str:
    """How dates and times are written, in words."""
    return "a date or time as ISO 8601 has it" if date_format == "iso" else f"a date or time as {date_format}"


def _plain(text: pl.Expr, date_format: str) -> list[pl.Expr]:
    """The moments of texts with all their digits, in a hundredth of strptime's time; null for others, or no column."""
    directives = re.findall("%.", date_format)
    is_plain = _PLAIN.fullmatch(date_format) and {"%Y", "%m", "%d"} <= set(directives)
    if not is_plain or len(set(directives)) < len(directives):
        return []
    polars_format = date_format.replace("%f", "%6f")
    moment = text.str.to_datetime(polars_format, time_unit="us", time_zone="UTC", strict=False)
    return [pl.when(moment.dt.strftime(polars_format) == text).then(moment)]


def _read_each(texts: pl.Series, read: Callable[[str], datetime | None]) -> pl.Series:
    """One text after the other, each of them once: the same day is often there many times."""
    present = texts.drop_nulls().unique()
    moments = pl.Series([read(text) for text in present], dtype=_DTYPE)
    return texts.replace_strict(present, moments, default=None, return_dtype=_DTYPE)
