"""Fitted transforms on a table, as Polars expressions: the same float32 operations as the Keras layers."""

import numpy as np
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
from headrace.components.transforms.fitted_transforms import (
    Fitted,
    FittedBackbone,
    FittedFeature,
    FittedImpute,
    FittedMinMax,
    FittedOneHot,
    FittedOrdinal,
    FittedPolynomial,
    FittedScalePixels,
    FittedStandardize,
    FittedTable,
    FittedVocabulary,
)
from headrace.components.transforms.polynomial import chebyshev
from headrace.components.transforms.tokens import token_ids


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
    """Return a feature's values as the transforms take them: Float32, Array(Float32, size), or String, "" as null."""
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


def is_missing(values: pl.Expr, feature: Feature) -> pl.Expr:
    """Return where there is no value; for numbers NaN counts as none, since a Keras model knows no other mark."""
    return values.is_null() | values.is_nan() if isinstance(feature, NumberFeature) else values.is_null()


def scaled(values: pl.Expr, transform: FittedStandardize | FittedMinMax) -> pl.Expr:
    """Return (values - shift) * (1 / scale) in Float32, and 0 where the scale is 0."""
    if transform.scale == 0:
        return values * _float32(0.0)
    return (values - _float32(transform.shift)) * _inverse(transform.scale)


def transformed(values: pl.Expr, transform: Fitted, feature: Feature) -> pl.Expr:
    """Return the values after one transform; for one_hot these are ranks, which `_columns` spreads out."""
    match transform:
        case FittedImpute():
            value = pl.lit(transform.value) if isinstance(transform.value, str) else _float32(transform.value)
            return pl.when(is_missing(values, feature)).then(value).otherwise(values)
        case FittedStandardize() | FittedMinMax():
            return scaled(values, transform)
        case FittedScalePixels():
            return values * _inverse(transform.maximum)
        case FittedPolynomial():
            return values  # whose terms `_spread` makes
        case FittedVocabulary():
            return _tokens(values, transform, feature)
        case FittedOneHot() | FittedOrdinal():
            return (_indices(values, transform.categories, strict=False).cast(pl.Float32) + 1).fill_null(0)
        case FittedBackbone():
            raise TypeError("a backbone is no expression; its features are computed before")


def _columns(name: str, fitted: FittedFeature) -> pl.Expr:
    if fitted.backbone:
        return pl.col(name)  # what `with_features` has made of the images
    if isinstance(fitted.feature, ImageFeature) and fitted.feature.encoding == "encoded":
        return pl.col(name)  # what its transforms do is done where it is decoded
    values = raw = raw_values(name, fitted.feature)
    indicator: list[pl.Expr] = []
    for transform in fitted.transforms:
        values = transformed(values, transform, fitted.feature)
        if isinstance(transform, FittedImpute) and transform.indicator:
            indicator = [is_missing(raw, fitted.feature).cast(pl.Float32)]
    columns = _spread(values, fitted) + indicator
    return columns[0] if len(columns) == 1 else pl.concat_arr(columns)


def _spread(values: pl.Expr, fitted: FittedFeature) -> list[pl.Expr]:
    """Return the one column of values, one_hot's column for each rank, or all the terms of a polynomial in one."""
    if fitted.transforms and isinstance(fitted.transforms[-1], FittedOneHot):
        ranks = range(len(fitted.transforms[-1].categories) + 1)
        return [(values == rank).cast(pl.Float32) for rank in ranks]
    if fitted.transforms and isinstance(fitted.transforms[-1], FittedPolynomial):
        return [_terms(values, degree=fitted.transforms[-1].degree)]
    return [values]


def _terms(values: pl.Expr, *, degree: int) -> pl.Expr:
    dtype = pl.Array(pl.Float32, degree)

    def terms(block: pl.Series) -> pl.Series:
        columns = list(chebyshev(block.to_numpy(), degree=degree))
        return pl.Series(block.name, np.stack(columns, axis=1), dtype=dtype)

    return values.map_batches(terms, return_dtype=dtype, is_elementwise=True)


def _float32(value: float) -> pl.Expr:
    return pl.lit(value, pl.Float32)


def _inverse(value: float) -> pl.Expr:
    """What to multiply by instead of dividing: Polars 2.1 does so by itself, but not in a block of one row."""
    return _float32(float(np.float32(1) / np.float32(value)))


def _tokens(texts: pl.Expr, vocabulary: Fitted, feature: Feature, *, more: int = 0) -> pl.Expr:
    """Return the ids of the first tokens, Array(Float32, length), or of so many more."""
    if not isinstance(feature, TextFeature) or not isinstance(vocabulary, FittedVocabulary):
        raise TypeError(f"{vocabulary.kind} of a {feature.type}, which check() would have refused")
    length = feature.length + more
    dtype = pl.Array(pl.Float32, length)

    def look_up(block: pl.Series) -> pl.Series:
        ids = token_ids(block, vocabulary.tokens, unit=feature.unit, length=length)
        return pl.Series(block.name, ids, dtype=dtype)

    return texts.map_batches(look_up, return_dtype=dtype, is_elementwise=True)


def _label(fitted: FittedTable) -> pl.Expr:
    match fitted.label:
        case CategoryLabel(name=name, classes=classes):
            return _indices(pl.col(name), classes, strict=True).cast(pl.Int32)
        case NextTokenLabel(name=name):
            return _next_tokens(pl.col(name), fitted.features[name])
        case GeneratedLabel(by=str(name), classes=tuple(classes)):
            return _indices(pl.col(name), classes, strict=True).cast(pl.Int32)
        case NumbersLabel(targets=targets):
            columns = zip(targets, fitted.label_transforms, strict=True)
            return pl.concat_arr([scaled(pl.col(name).cast(pl.Float32), one) for name, one in columns])
        case GeneratedLabel():
            return pl.lit(0, pl.Int32)  # of no meaning: a batch has features and labels
        case label:
            values, transform = pl.col(label.name).cast(pl.Float32), fitted.label_transform
            return values if transform is None else scaled(values, transform)


def _next_tokens(texts: pl.Expr, fitted: FittedFeature) -> pl.Expr:
    """Return the ids of all tokens but the first, Array(Int32, length)."""
    length = fitted.width
    all_of_them = _tokens(texts, fitted.transforms[-1], fitted.feature, more=1)
    return all_of_them.arr.tail(length).list.to_array(length).cast(pl.Array(pl.Int32, length))


def _indices(texts: pl.Expr, categories: tuple[str, ...], *, strict: bool) -> pl.Expr:
    """Return each text's place in `categories`; for others null, or with `strict` an error."""
    # Not replace_strict: Polars 2.1 doesn't stream it, and would hold the whole table.
    return texts.cast(pl.Enum(categories), strict=strict).to_physical()
