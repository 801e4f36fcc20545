"""Fitted transforms on a table, as Polars expressions: the same float32 operations as the Keras layers."""

import polars as pl

from components.examples.settings import CategoryFeature, CategoryLabel, Feature, ImageFeature, Label, NumberFeature
from components.transforms.fitted import (
    Fitted,
    FittedFeature,
    FittedImpute,
    FittedLabelTransform,
    FittedMinMax,
    FittedOneHot,
    FittedOrdinal,
    FittedScalePixels,
    FittedStandardize,
    FittedTable,
)


def apply(examples: pl.LazyFrame, fitted: FittedTable) -> pl.LazyFrame:
    """Return example_id, the features (Float32 or Array(Float32, width)), label (Int32 or Float32), and given_split.

    Rows keep their order; given_split is there only if `examples` has it.
    """
    kept = [name for name in ("given_split",) if name in examples.collect_schema()]
    return examples.select(
        "example_id",
        *(_columns(name, of).alias(name) for name, of in fitted.features.items()),
        _label(fitted.label, fitted.label_transform).alias("label"),
        *kept,
    )


def raw_values(name: str, feature: Feature) -> pl.Expr:
    """Return a feature's values as the transforms take them: Float32, Array(Float32, size), or String, "" as null."""
    column = pl.col(name)
    match feature:
        case ImageFeature():
            return column.cast(pl.Array(pl.Float32, feature.size))
        case NumberFeature():
            return column.cast(pl.Float32)  # first of all, because a Keras model gets no more than that
        case CategoryFeature():
            return pl.when(column != "").then(column)


def is_missing(values: pl.Expr, feature: Feature) -> pl.Expr:
    """Return where there is no value; for numbers NaN counts as none, since a Keras model knows no other mark."""
    return values.is_null() | values.is_nan() if isinstance(feature, NumberFeature) else values.is_null()


def scaled(values: pl.Expr, transform: FittedStandardize | FittedMinMax) -> pl.Expr:
    """Return (values - shift) / scale in Float32, and 0 where the scale is 0."""
    if transform.scale == 0:
        return values * _float32(0.0)
    return (values - _float32(transform.shift)) / _float32(transform.scale)


def transformed(values: pl.Expr, transform: Fitted, feature: Feature) -> pl.Expr:
    """Return the values after one transform; for one_hot these are ranks, which `_columns` spreads out."""
    match transform:
        case FittedImpute():
            value = pl.lit(transform.value) if isinstance(transform.value, str) else _float32(transform.value)
            return pl.when(is_missing(values, feature)).then(value).otherwise(values)
        case FittedStandardize() | FittedMinMax():
            return scaled(values, transform)
        case FittedScalePixels():
            return values / _float32(transform.maximum)
        case FittedOneHot() | FittedOrdinal():
            return (_indices(values, transform.categories, strict=False).cast(pl.Float32) + 1).fill_null(0)


def _columns(name: str, fitted: FittedFeature) -> pl.Expr:
    values = raw = raw_values(name, fitted.feature)
    indicator: list[pl.Expr] = []
    for transform in fitted.transforms:
        values = transformed(values, transform, fitted.feature)
        if isinstance(transform, FittedImpute) and transform.indicator:
            indicator = [is_missing(raw, fitted.feature).cast(pl.Float32)]
    columns = _spread(values, fitted) + indicator
    return columns[0] if len(columns) == 1 else pl.concat_arr(columns)


def _spread(values: pl.Expr, fitted: FittedFeature) -> list[pl.Expr]:
    """Return the one column of values, or one_hot's column for each rank."""
    if fitted.transforms and isinstance(fitted.transforms[-1], FittedOneHot):
        ranks = range(len(fitted.transforms[-1].categories) + 1)
        return [(values == rank).cast(pl.Float32) for rank in ranks]
    return [values]


def _float32(value: float) -> pl.Expr:
    return pl.lit(value, pl.Float32)


def _label(label: Label, transform: FittedLabelTransform | None) -> pl.Expr:
    if isinstance(label, CategoryLabel):
        return _indices(pl.col(label.name), label.classes, strict=True).cast(pl.Int32)
    values = pl.col(label.name).cast(pl.Float32)
    return values if transform is None else scaled(values, transform)


def _indices(texts: pl.Expr, categories: tuple[str, ...], *, strict: bool) -> pl.Expr:
    """Return each text's place in `categories`; for others null, or with `strict` an error."""
    # Not replace_strict: Polars 2.1 doesn't stream it, and would hold the whole table.
    return texts.cast(pl.Enum(categories), strict=strict).to_physical()
