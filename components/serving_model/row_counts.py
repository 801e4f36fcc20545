"""What a model can live with in the rows that it predicts, counted over all of them and reported once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from headrace.components.schema.feature_types.feature_type import Deviation
from headrace.components.schema.features import Feature

Warn = Callable[[str], None]


@dataclass
class _Column:
    """Values of one column, as many as were counted, and the first of each kind that is worth a warning."""

    rows: int = 0
    missing: int = 0
    deviations: dict[str, Deviation] = field(default_factory=dict)  # by their words
    known_rows: int = 0
    other_form: dict[str, str] = field(default_factory=dict)
    other_forms: int = 0
    unseen: list[str] = field(default_factory=list)
    unseen_rows: int = 0


class RowCounts:
    """Counts of numbers out of range, other patterns, empty columns, and categories that a model does not know."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def add(self, examples: pl.DataFrame, features: Mapping[str, Feature]) -> None:
        """Count what the values of some rows have that the features do not allow for."""
        for name, feature in features.items():
            values, column = examples[name], self._columns.setdefault(name, _Column())
            column.rows += len(values)
            column.missing += values.null_count()
            for found in feature.deviations(values):
                before = column.deviations.get(found.words, found._replace(rows=0))
                column.deviations[found.words] = before._replace(rows=before.rows + found.rows)

    def as_known(self, examples: pl.DataFrame, known: Mapping[str, frozenset[str]]) -> pl.DataFrame:
        """The examples, with categories written as the model knows them; those that it does not know are counted.

        A whole number that the model only knows in its other form (`1.0` for `1`, as pandas writes it beside a missing
        value) is taken for that.
        """
        return examples.with_columns(
            [self._as_known(examples[name], words) for name, words in known.items() if name in examples.columns]
        )

    def report(self, warn: Warn) -> None:
        """Give `warn` a sentence for each thing that was found, with its count."""
        for name, column in self._columns.items():
            _report_values(name, column, warn)
        for name, column in self._columns.items():
            _report_categories(name, column, warn)

    def _as_known(self, values: pl.Series, known: frozenset[str]) -> pl.Series:
        column = self._columns.setdefault(values.name, _Column())
        column.known_rows += len(values)
        words = values.drop_nulls().unique()
        unseen = words.filter(~words.is_in(list(known)))
        if unseen.is_empty():
            return values
        by_number = {number: word for word in sorted(known, reverse=True) if (number := _whole(word)) is not None}
        other_form = {word: by_number[number] for word in unseen if (number := _whole(word)) in by_number}
        if other_form:
            column.other_form |= other_form
            column.other_forms += int(values.is_in(list(other_form)).sum())
        others = values.filter(values.is_in(unseen.filter(~unseen.is_in(list(other_form)))))
        column.unseen_rows += len(others)
        column.unseen = column.unseen or others.head(1).to_list()
        return values.replace(other_form)


def _report_values(name: str, column: _Column, warn: Warn) -> None:
    if column.rows and column.missing == column.rows:
        warn(f"column {name!r}: no row has a value")
    for rows, words, example in column.deviations.values():
        shown = "" if example is None else f", for example {example!r}"
        warn(f"column {name!r}: {rows} of {column.rows} {words}{shown}")


def _report_categories(name: str, column: _Column, warn: Warn) -> None:
    if column.other_form:
        word = min(column.other_form)
        warn(
            f"column {name!r}: {column.other_forms} of {column.known_rows} values are whole numbers in another form "
            f"than the model knows, and taken for those, for example {word!r} for {column.other_form[word]!r}"
        )
    if column.unseen:
        warn(
            f"column {name!r}: {column.unseen_rows} of {column.known_rows} values were not seen in training, and count "
            f"as 'other', for example {column.unseen[0]!r}"
        )


def _whole(word: str) -> int | None:
    """The whole number that a category stands for, written with or without zeros after a point."""
    whole, _, rest = word.partition(".")
    is_whole = whole.removeprefix("-").isdecimal() and whole.isascii() and not rest.strip("0")
    if not is_whole or len(whole) > 20 or str(int(whole)) != whole:  # 01 is a code, and not the number 1
        return None
    return int(whole)
