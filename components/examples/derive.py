"""Features that are made of other columns: a part of a text, a sum of numbers."""

from collections.abc import Mapping

import polars as pl

from headrace.components.schema.features import CategoryFeature, Feature, NumberFeature, read_from
from headrace.components.schema.numbers import as_number


def with_derived(table: pl.DataFrame, features: Mapping[str, Feature]) -> pl.DataFrame:
    """Return the table with a column for each derived feature, String or Float64, unless there is one of its name.

    A part of a text is null where the text is missing or has no such part, a sum where a number is missing or none.
    """
    found = set(table.columns)  # once: the property lists all of them each time
    made = [
        expression.alias(name)
        for name, feature in features.items()
        if name not in found and found.issuperset(read_from(name, feature))
        if (expression := _derived(feature, table.schema)) is not None
    ]
    return table.with_columns(made) if made else table


def _derived(feature: Feature, found: Mapping[str, pl.DataType]) -> pl.Expr | None:
    match feature:
        case CategoryFeature(column=str(column), extract=None):
            return pl.col(column).cast(pl.String)
        case CategoryFeature(column=str(column), extract=str(pattern)):
            return pl.col(column).cast(pl.String).str.extract(pattern, 1)
        case NumberFeature(sum_of=tuple(columns)):
            numbers = [as_number(pl.col(column), found[column], feature.number_format) for column in columns]
            return pl.sum_horizontal(numbers, ignore_nulls=False)
    return None
