"""What the data looks like, feature by feature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from components.examples.settings import CategoryFeature, Feature, ImageFeature, NumberFeature

_BINS = 24
_MOST_FREQUENT = 12


@dataclass(frozen=True)
class Bar:
    """One bar of a small histogram: what it counts, and how many."""

    label: str
    count: int


@dataclass(frozen=True)
class FeatureProfile:
    """One feature over all examples; a value that makes no sense for its type is None."""

    name: str
    type: str
    missing_fraction: float
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    categories: int | None = None
    bars: tuple[Bar, ...] = ()


def profile(examples: pl.LazyFrame, *, features: Mapping[str, Feature]) -> list[FeatureProfile]:
    """Return type, range, mean, share of missing values and a histogram of every feature, over all examples.

    One pass for the sums and one for the histograms, however many features there are.
    """
    sums = examples.select(
        pl.len().alias("examples"), *(one for name, feature in features.items() for one in _sums(name, feature))
    )
    found = sums.collect().row(0, named=True)
    histograms = pl.collect_all([_histogram(examples, name, feature, found) for name, feature in features.items()])
    return [
        _profile(name, feature, found, histogram)
        for (name, feature), histogram in zip(features.items(), histograms, strict=True)
    ]


def _sums(name: str, feature: Feature) -> list[pl.Expr]:
    column = pl.col(name)
    missing = column.null_count().alias(f"{name} missing")
    match feature:
        case CategoryFeature():
            return [missing, column.drop_nulls().n_unique().alias(f"{name} categories")]
        case NumberFeature() | ImageFeature():
            values = column.explode() if isinstance(feature, ImageFeature) else column
            return [
                missing,
                values.min().cast(pl.Float64).alias(f"{name} minimum"),
                values.max().cast(pl.Float64).alias(f"{name} maximum"),
                values.mean().alias(f"{name} mean"),
            ]


def _histogram(examples: pl.LazyFrame, name: str, feature: Feature, found: Mapping[str, Any]) -> pl.LazyFrame:
    """Two columns: `value` (a bin's index, or a category) and `count`."""
    column = pl.col(name)
    match feature:
        case CategoryFeature():
            counts = examples.group_by(column.alias("value")).agg(pl.len().alias("count")).drop_nulls("value")
            return counts.sort(["count", "value"], descending=[True, False])
        case NumberFeature():
            low, width = found[f"{name} minimum"] or 0.0, _width(found, name)
            index = ((column - low) / width * _BINS).floor().clip(0, _BINS - 1).cast(pl.Int64)
            return examples.group_by(index.alias("value")).agg(pl.len().alias("count")).drop_nulls("value")
        case ImageFeature():
            return pl.LazyFrame(schema={"value": pl.Int64, "count": pl.UInt32})


def _width(found: Mapping[str, Any], name: str) -> float:
    """The range of a number; 1 for a constant, which then fills the first bin."""
    return ((found[f"{name} maximum"] or 0.0) - (found[f"{name} minimum"] or 0.0)) or 1.0


def _profile(name: str, feature: Feature, found: Mapping[str, Any], histogram: pl.DataFrame) -> FeatureProfile:
    missing_fraction = found[f"{name} missing"] / max(found["examples"], 1)
    counts = dict(histogram.iter_rows())
    match feature:
        case CategoryFeature():
            bars, categories = _category_bars(counts), found[f"{name} categories"]
            return FeatureProfile(name, feature.type, missing_fraction, categories=categories, bars=bars)
        case NumberFeature() | ImageFeature():
            bars = _number_bars(counts, low=found[f"{name} minimum"] or 0.0, width=_width(found, name))
            ends = {key: found[f"{name} {key}"] for key in ("minimum", "maximum", "mean")}
            return FeatureProfile(name, feature.type, missing_fraction, **ends, bars=bars)


def _category_bars(counts: Mapping[str, int]) -> tuple[Bar, ...]:
    bars = [Bar(category, count) for category, count in counts.items()]
    rest = sum(bar.count for bar in bars[_MOST_FREQUENT:])
    return (*bars[:_MOST_FREQUENT], *([Bar(f"{len(bars) - _MOST_FREQUENT} others", rest)] if rest else []))


def _number_bars(counts: Mapping[int, int], *, low: float, width: float) -> tuple[Bar, ...]:
    if not counts:
        return ()
    edges = [low + width * index / _BINS for index in range(_BINS + 1)]
    return tuple(Bar(f"{edges[index]:.4g} to {edges[index + 1]:.4g}", counts.get(index, 0)) for index in range(_BINS))
