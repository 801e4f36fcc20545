"""Columns of examples as statistics and transforms take them."""

import polars as pl

from headrace.components.schema.features import CategoryFeature, Feature, ImageFeature, NumberFeature, TextFeature


def raw_values(name: str, feature: Feature) -> pl.Expr:
    """A feature's values: Float32, Array(Float32, size), or String, "" as null."""
    column = pl.col(name)
    match feature:
        case ImageFeature():
            return column.cast(pl.Array(pl.Float32, feature.size))
        case NumberFeature():
            return column.cast(pl.Float32)  # first of all, because a Keras model gets no more than that
        case CategoryFeature():
            return pl.when(column != "").then(column)
        case TextFeature():
            return column
