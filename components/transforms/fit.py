"""Transforms fitted to a table of training examples."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from components.errors import DataError
from components.examples.settings import Feature, ImageFeature, Label, NumberFeature
from components.transforms.apply import raw_values, transformed
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
from components.transforms.settings import (
    Impute,
    LabelTransform,
    MinMax,
    OneHot,
    Ordinal,
    ScalePixels,
    Standardize,
    Transform,
)

_SMALLEST_SCALE = 1e-30  # float32 has no room to divide by less
_LARGEST = 1e38  # and little more to hold more: a difference of two must still be finite


def fit(
    examples: pl.LazyFrame,
    *,
    features: Mapping[str, Feature],
    transforms: Mapping[str, Sequence[Transform]],
    label: Label,
    label_transform: LabelTransform | None = None,
) -> FittedTable:
    """Return the transforms fitted to `examples`, which must be training rows only and have passed `check`.

    Reads the examples once per place in the longest chain of transforms, as a stream; a median, a most frequent value
    and the categories hold one column in memory. Raises DataError for no rows or a column that can't be fitted.
    """
    training_examples = examples.select(pl.len()).collect(engine="streaming").item()
    if training_examples == 0:
        raise DataError("no training examples; lower validation_fraction or test_fraction, or bring more data")
    chains = _fit_chains(examples, features=features, chains=transforms)
    return FittedTable(
        features={name: _feature(features[name], chain) for name, chain in chains.items()},
        label=label,
        label_transform=None if label_transform is None else _fit_label(examples, label, label_transform),
        training_examples=training_examples,
    )


def _fit_label(examples: pl.LazyFrame, label: Label, transform: LabelTransform) -> FittedLabelTransform:
    chains = _fit_chains(examples, features={label.name: NumberFeature()}, chains={label.name: (transform,)})
    (fitted,) = chains[label.name]
    if not isinstance(fitted, FittedStandardize | FittedMinMax):
        raise TypeError(f"a label is standardized or min_max scaled, not {fitted.kind}")
    return fitted


def _fit_chains(
    examples: pl.LazyFrame, *, features: Mapping[str, Feature], chains: Mapping[str, Sequence[Transform]]
) -> dict[str, tuple[Fitted, ...]]:
    """Fit the first transform of every column, then the second to what the first gives, and so on."""
    values = {name: raw_values(name, features[name]) for name in chains}
    fitted: dict[str, tuple[Fitted, ...]] = dict.fromkeys(chains, ())
    for place in range(max(len(chain) for chain in chains.values())):
        due = {name: chain[place] for name, chain in chains.items() if place < len(chain)}
        asked = {name: _statistics(values[name], transform) for name, transform in due.items()}
        found = _collect(examples, asked)
        for name, transform in due.items():
            done = _fitted(transform, features[name], found[name], name=name)
            values[name] = transformed(values[name], done, features[name])
            fitted[name] += (done,)
    return fitted


def _statistics(values: pl.Expr, transform: Transform) -> dict[str, pl.Expr]:
    """Return what a transform must know of a column."""
    match transform:
        case Standardize():
            wide = values.cast(pl.Float64)  # sums in Float32 would lose digits over many rows
            return {**_extremes_of(values), "mean": wide.mean(), "deviation": wide.std(ddof=0)}
        case MinMax():
            return _extremes_of(values)
        case OneHot() | Ordinal():
            return {"categories": values.drop_nulls().unique().sort().implode()}
        case Impute(strategy="median"):
            return {"value": values.drop_nans().median()}
        case Impute():
            return {"value": values.drop_nulls().drop_nans().mode().min()}
        case ScalePixels():
            return {}


def _extremes_of(values: pl.Expr) -> dict[str, pl.Expr]:
    return {"minimum": values.min(), "maximum": values.max()}


def _collect(examples: pl.LazyFrame, asked: Mapping[str, Mapping[str, pl.Expr]]) -> dict[str, dict[str, Any]]:
    """Return the statistics of all columns, found in one pass over the examples."""
    places = [(name, statistic) for name, statistics in asked.items() for statistic in statistics]
    found: dict[str, dict[str, Any]] = {name: {} for name in asked}
    if places:
        wanted = [asked[name][statistic].alias(str(index)) for index, (name, statistic) in enumerate(places)]
        values = examples.select(wanted).collect(engine="streaming").row(0)
        for (name, statistic), value in zip(places, values, strict=True):
            found[name][statistic] = value
    return found


def _fitted(transform: Transform, feature: Feature, found: Mapping[str, Any], *, name: str) -> Fitted:
    match transform:
        case Standardize():
            return _standardize(found, name=name)
        case MinMax():
            minimum, maximum = _extremes(found, name=name)
            return FittedMinMax(minimum=minimum, maximum=maximum)
        case OneHot():
            return FittedOneHot(categories=_present(tuple(found["categories"]), name=name))
        case Ordinal():
            return FittedOrdinal(categories=_present(tuple(found["categories"]), name=name))
        case Impute():
            return FittedImpute(value=_present(found["value"], name=name), indicator=transform.indicator)
        case ScalePixels() if isinstance(feature, ImageFeature):
            return FittedScalePixels(maximum=feature.maximum)
    raise TypeError(f"{name}: {transform.kind} on a {feature.type}, which check() would have refused")


def _standardize(found: Mapping[str, Any], *, name: str) -> FittedStandardize:
    minimum, maximum = _extremes(found, name=name)
    mean, deviation = found["mean"], found["deviation"]
    if minimum == maximum or deviation < _SMALLEST_SCALE:
        return FittedStandardize(mean=minimum, standard_deviation=0)
    # The last bits of a sum depend on the order in which threads add; seven digits don't, and float32 has no more. So
    # equal data gives the same bytes in statistics.json and in all that is computed with it.
    deviation = float(f"{deviation:.7g}")
    mean = round(mean, 6 - math.floor(math.log10(deviation)))
    return FittedStandardize(mean=mean, standard_deviation=deviation)


def _extremes(found: Mapping[str, Any], *, name: str) -> tuple[float, float]:
    """Return minimum and maximum; equal if float32 can't divide by what is between them."""
    minimum, maximum = (float(_present(found[extreme], name=name)) for extreme in ("minimum", "maximum"))
    if not all(abs(extreme) < _LARGEST for extreme in (minimum, maximum)):
        raise DataError(f"{name}: training values from {minimum} to {maximum} are too large for float32; scale them")
    return minimum, minimum if maximum - minimum < _SMALLEST_SCALE else maximum


def _present(value: Any, *, name: str) -> Any:
    if value is None or value == ():
        raise DataError(
            f"{name}: missing in every training example; take it out of normalize.transforms or mend the data"
        )
    return value


def _feature(feature: Feature, transforms: tuple[Fitted, ...]) -> FittedFeature:
    if isinstance(feature, ImageFeature):
        return FittedFeature(feature=feature, transforms=transforms, shape=feature.shape)
    width = 1
    for transform in transforms:
        if isinstance(transform, FittedOneHot):
            width += len(transform.categories)
        if isinstance(transform, FittedImpute):
            width += transform.indicator
    return FittedFeature(feature=feature, transforms=transforms, shape=(width,))
