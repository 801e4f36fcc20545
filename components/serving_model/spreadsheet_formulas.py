"""Text that a spreadsheet would run: in a CSV file, a cell that begins like a formula.

Source: OWASP, "CSV injection". Numbers begin so, too, and do no harm.
"""

import polars as pl

_FORMULA = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"  # the last four are the full-width forms
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


def count_formulas(table: pl.DataFrame, *, with_names: bool = True) -> int:
    """Number of cells of text, names of columns included unless they were counted before, that begin like a formula."""
    texts = [*table.select(pl.col(pl.String)), *([_names(table)] if with_names else [])]
    return sum(int(column.filter(_is_formula(column)).len()) for column in texts)


def escape_formulas(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with an apostrophe before each such cell, which makes it text in a spreadsheet."""
    escaped = table.with_columns(_escaped(column) for column in table.select(pl.col(pl.String)))
    escaped.columns = _escaped(_names(table)).to_list()
    return escaped


def _names(table: pl.DataFrame) -> pl.Series:
    return pl.Series(table.columns, dtype=pl.String)


def _is_formula(texts: pl.Series) -> pl.Series:
    return (texts.str.contains(_FORMULA) & ~texts.str.contains(_NUMBER)).fill_null(value=False)


def _escaped(texts: pl.Series) -> pl.Series:
    return texts.zip_with(~_is_formula(texts), "'" + texts).alias(texts.name)
