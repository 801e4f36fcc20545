"""Texts that stand for a missing value."""

from collections.abc import Collection, Sequence

import polars as pl

from headrace.components.guess.texts import date_formats
from headrace.components.guess.value_formats import number_formats

# What stands for a missing value in a column of numbers or dates, after strip and casefold.
_MISSING = frozenset(["", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "unknown", "?", "-", "--", "."])


def missing_words(table: pl.DataFrame, *, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the texts that stand for a missing value, sorted: those without which a column is of numbers or dates.

    A word that is a class of a target is none.
    """
    found: set[str] = set()
    for column in table:
        values = column.drop_nulls().unique()
        words = values.filter(_is_missing_word(values))
        if len(words) and _is_quantity(values.filter(~values.is_in(words.implode()))):
            found |= set(words)
    return tuple(sorted(found.difference(*(_classes(table[target]) for target in targets))))


def without(table: pl.DataFrame, words: Collection[str]) -> pl.DataFrame:
    """Return a table of texts with null where one of the words stands."""
    return table.with_columns(pl.when(~pl.all().is_in(list(words))).then(pl.all()).name.keep()) if words else table


def _is_quantity(values: pl.Series) -> bool:
    return bool(number_formats(values) or date_formats(values))


def _is_missing_word(values: pl.Series) -> pl.Series:
    return values.str.strip_chars().str.to_lowercase().is_in(list(_MISSING))


def _classes(target: pl.Series) -> set[str]:
    """The texts of a target that is not of numbers."""
    values = target.drop_nulls().unique()
    return set() if number_formats(values.filter(~_is_missing_word(values))) else set(values)
