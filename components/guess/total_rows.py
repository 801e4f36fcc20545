"""Rows below a table that are no examples: totals, means."""

import re

import polars as pl

from headrace.components.guess.texts import as_numbers

_LAST = 3  # rows that are looked at
_LEAST = 5  # rows above: of fewer, anything may be the sum
_WORDS = re.compile(
    r"(grand |sub-?)?(totals?|totale|totaal|sum|summe|gesamt(summe)?|insgesamt|suma|somme|итого|合計|总计|合计)"
    r"|average|mean|mittelwert|durchschnitt|moyenne|media|promedio|ø"
)


def find_totals(table: pl.DataFrame) -> dict[int, str]:
    """Last rows of a table of texts that seem to be totals, by number from 0, with the reason."""
    first = table.height - _LAST
    if first < _LEAST:
        return {}
    found: dict[int, str] = {}
    for column in table:
        for row in range(first, table.height):
            text = column[row]
            if text and _WORDS.fullmatch(text.strip(" :").casefold()) and (column == text).sum() == 1:
                found.setdefault(row, f"{text.strip()!r} in {column.name!r}")
    return found


def is_sum(table: pl.DataFrame) -> bool:
    """Whether the last row has the sums of what is above in two columns or more, as numbers in plain notation."""
    if table.height <= _LEAST:
        return False
    columns = [as_numbers(column) for column in table]
    whole = [one for one in columns if one[-1] is not None and one[-1] != 0]
    sums = [one for one in whole if abs((one[:-1].sum() or 0.0) - one[-1]) <= 1e-6 * abs(one[-1])]
    return len(sums) >= 2
