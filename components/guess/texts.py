"""What texts stand for: missing values, numbers, dates and times. As ingest reads them, or not at all."""

from collections.abc import Collection

import polars as pl

from components.examples.moments import parse_time

# What stands for a missing value in a column of numbers or dates, after strip and casefold.
_MISSING = frozenset(["", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "unknown", "?", "-", "--", "."])
_DATE_FORMATS = (
    "iso",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
)
_EXACT_INTEGERS = 2.0**53


def missing_words(table: pl.DataFrame, *, target: str) -> tuple[str, ...]:
    """Return the texts that stand for a missing value, sorted: those without which a column is of numbers or dates.

    A word that is a class of the target is none.
    """
    found: set[str] = set()
    for column in table:
        values = column.drop_nulls().unique()
        words = values.filter(_is_missing_word(values))
        if len(words) and is_quantity(values.filter(~values.is_in(words.implode()))):
            found |= set(words)
    return tuple(sorted(found - _classes(table[target])))


def without(table: pl.DataFrame, words: Collection[str]) -> pl.DataFrame:
    """Return a table of texts with null where one of the words stands."""
    return table.with_columns(pl.when(~pl.all().is_in(list(words))).then(pl.all()).name.keep()) if words else table


def is_quantity(values: pl.Series) -> bool:
    """Whether there are texts, and all of them are numbers, or dates of one format."""
    return len(values) > 0 and (not as_numbers(values).has_nulls() or date_format(values) is not None)


def as_numbers(texts: pl.Series) -> pl.Series:
    """Return texts as Float64, null where ingest would not take a text for a number: `inf`, or too many digits."""
    text = pl.col("text").str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    is_exact = (number.abs() < _EXACT_INTEGERS) | ~text.str.contains(r"^[+-]?[0-9]+$")
    return pl.DataFrame({"text": texts}).select(pl.when(number.is_finite() & is_exact).then(number)).to_series()


def date_format(texts: pl.Series) -> str | None:
    """Return the first format in which all texts are dates or times; None if there is none."""
    table = pl.DataFrame({"text": texts})
    return next((one for one in _DATE_FORMATS if _fits(table[:100], one) and _fits(table, one)), None)


def _fits(table: pl.DataFrame, one: str) -> bool:
    return not table.select(parse_time(pl.col("text"), one).is_null().any()).item()


def _is_missing_word(values: pl.Series) -> pl.Series:
    return values.str.strip_chars().str.to_lowercase().is_in(list(_MISSING))


def _classes(target: pl.Series) -> set[str]:
    """The texts of a target that is not of numbers."""
    values = target.drop_nulls().unique()
    others = values.filter(~_is_missing_word(values))
    return set() if len(others) and not as_numbers(others).has_nulls() else set(values)
