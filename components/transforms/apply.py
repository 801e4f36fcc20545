"""Fitted transforms on a table, as Polars expressions."""

from collections.abc import Sequence

import polars as pl

from headrace.components.examples.settings import (
    ADDED_COLUMNS,
    CategoryFeature,
    CategoryLabel,
    Feature,
    GeneratedLabel,
    ImageFeature,
    NextTokenLabel,
    NumberFeature,
    NumbersLabel,
    TextFeature,
)
from headrace.components.transforms.fitted_transforms import FittedFeature, FittedTable
from headrace.components.transforms.ranks import indices
from headrace.components.transforms.transform import FittedTransform, TableColumn


def apply(examples: pl.LazyFrame, fitted: FittedTable) -> pl.LazyFrame:
    """Return example_id, the features (Float32 or Array(Float32, width); Binary stays) and label (Int32 or Float32).

    Of next tokens, the label is Array(Int32, length), of several numbers Array(Float32, numbers); where images are
    generated it is their class, or 0.
    Rows keep their order; of `ADDED_COLUMNS` those are there, last, that `examples` has.
    """
    kept = [name for name in ADDED_COLUMNS[1:] if name in examples.collect_schema()]
    return examples.select(
        "example_id",
        *(_columns(name, of).alias(name) for name, of in fitted.features.items()),
        _label(fitted).alias("label"),
        *kept,
    )


def raw_values(name: str, feature: Feature) -> pl.Expr:
    """A feature's values as the transforms take them: Float32, Array(Float32, size), or String, "" as null."""
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


def transformed(raw: pl.Expr, feature: Feature, transforms: Sequence[FittedTransform]) -> pl.Expr:
    """Values after some transforms, in one column; `raw` is what `raw_values` gives."""
    values = raw
    for transform in transforms:
        values = transform.table_form(TableColumn(feature, raw, values))
    return values


def _columns(name: str, fitted: FittedFeature) -> pl.Expr:
    if fitted.backbone:
        return pl.col(name)  # what `with_features` has made of the images
    if isinstance(fitted.feature, ImageFeature) and fitted.feature.encoding == "encoded":
        return pl.col(name)  # what its transforms do is done where it is decoded
    raw, transforms = raw_values(name, fitted.feature), fitted.transforms
    values = transformed(raw, fitted.feature, transforms)
    columns = transforms[-1].spread(values) if transforms else [values]
    for transform in transforms:
        columns += transform.table_indicators(TableColumn(fitted.feature, raw, values))
    return columns[0] if len(columns) == 1 else pl.concat_arr(columns)


def _label(fitted: FittedTable) -> pl.Expr:
    match fitted.label:
        case CategoryLabel(name=name, classes=classes):
            return indices(pl.col(name), classes, strict=True).cast(pl.Int32)
        case NextTokenLabel(name=name):
            return _next_tokens(pl.col(name), fitted.features[name])
        case GeneratedLabel(by=str(name), classes=tuple(classes)):
            return indices(pl.col(name), classes, strict=True).cast(pl.Int32)
        case NumbersLabel(targets=targets):
            columns = zip(targets, fitted.label_transforms, strict=True)
            return pl.concat_arr([one.scaled(pl.col(name).cast(pl.Float32)) for name, one in columns])
        case GeneratedLabel():
            return pl.lit(0, pl.Int32)  # of no meaning: a batch has features and labels
        case label:
            values, transform = pl.col(label.name).cast(pl.Float32), fitted.label_transform
            return values if transform is None else transform.scaled(values)


def _next_tokens(texts: pl.Expr, fitted: FittedFeature) -> pl.Expr:
    """Ids of all tokens but the first, Array(Int32, length)."""
    length = fitted.width
    if not isinstance(fitted.feature, TextFeature) or fitted.vocabulary is None:
        raise TypeError(f"next tokens of a {fitted.feature.type}, which check() would have refused")
    all_of_them = fitted.vocabulary.ids(texts, fitted.feature, length=length + 1)
    return all_of_them.arr.tail(length).list.to_array(length).cast(pl.Array(pl.Int32, length))
