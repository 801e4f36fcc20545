"""Features that are made of other columns: a part of a text, a sum of numbers."""

from collections.abc import Mapping

import polars as pl

from headrace.components.schema.features import Feature


def with_derived(table: pl.DataFrame, features: Mapping[str, Feature]) -> pl.DataFrame:
    """Return the table with a column for each derived feature, String or Float64, unless there is one of its name.

    A part of a text is null where the text is missing or has no such part, a sum where a number is missing or none.
    """
    found = set(table.columns)  # once: the property lists all of them each time
    made = [
        expression.alias(name)
        for name, feature in features.items()
        if name not in found and found.issuperset(feature.read_from(name))
        if (expression := feature.derived(table.schema)) is not None
    ]
    return table.with_columns(made) if made else table
