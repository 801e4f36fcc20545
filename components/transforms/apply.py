"""Fitted transforms on a table, as Polars expressions."""

from collections.abc import Sequence

import polars as pl

from headrace.components.schema.example_schema import ADDED_COLUMNS
from headrace.components.schema.features import Feature
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.transform import FittedTransform, TableColumn


def apply(examples: pl.LazyFrame, fitted: FittedTable, *, label: pl.Expr) -> pl.LazyFrame:
    """example_id, the features (Float32 or Array(Float32, width); Binary stays) and `label`, as its task has it.

    Rows keep their order; of `ADDED_COLUMNS` those are there, last, that `examples` has.
    """
    kept = [name for name in ADDED_COLUMNS[1:] if name in examples.collect_schema()]
    return examples.select(
        "example_id",
        *(_columns(name, of).alias(name) for name, of in fitted.features.items()),
        label.alias("label"),
        *kept,
    )


def transformed(raw: pl.Expr, feature: Feature, transforms: Sequence[FittedTransform]) -> pl.Expr:
    """Values after some transforms, in one column; `raw` is what the feature's `raw_values` gives."""
    values = raw
    for transform in transforms:
        values = transform.table_form(TableColumn(feature, raw, values))
    return values


def _columns(name: str, fitted: FittedFeature) -> pl.Expr:
    if fitted.backbone:
        return pl.col(name)  # what `with_features` has made of the images
    if fitted.feature.is_encoded:
        return pl.col(name)  # what its transforms do is done where it is decoded
    raw, transforms = fitted.feature.raw_values(pl.col(name)), fitted.transforms
    values = transformed(raw, fitted.feature, transforms)
    columns = transforms[-1].spread(values) if transforms else [values]
    for transform in transforms:
        columns += transform.table_indicators(TableColumn(fitted.feature, raw, values))
    return columns[0] if len(columns) == 1 else pl.concat_arr(columns)
