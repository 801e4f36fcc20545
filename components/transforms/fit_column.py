"""One transform fitted to the summary of a column."""

import math
from typing import Any, Literal, TypeVar

from headrace.components.errors import DataError
from headrace.components.examples.settings import Feature, ImageFeature
from headrace.components.examples.sketch import merge_counts
from headrace.components.examples.summary import CategorySummary, NumberSummary, Summary, number_summary
from headrace.components.transforms.fitted_transforms import (
    Fitted,
    FittedBackbone,
    FittedImpute,
    FittedMinMax,
    FittedOneHot,
    FittedOrdinal,
    FittedPolynomial,
    FittedScalePixels,
    FittedStandardize,
    FittedVocabulary,
)
from headrace.components.transforms.settings import (
    Backbone,
    Impute,
    MinMax,
    OneHot,
    Ordinal,
    Polynomial,
    ScalePixels,
    Standardize,
    Transform,
    Vocabulary,
)
from headrace.components.transforms.tokens import can_be_known

Requested = Literal["numbers", "sketch", "categories", "tokens"]
Value = TypeVar("Value")

_SMALLEST_SCALE = 1e-30  # float32 has no room to divide by less
_LARGEST = 1e38  # and little more to hold more: a difference of two must still be finite


def requested_by(transform: Transform | FittedBackbone) -> Requested | None:
    """Return what a transform must know of its column; None if it must know nothing."""
    match transform:
        case ScalePixels() | Polynomial() | Backbone() | FittedBackbone():
            return None
        case Standardize() | MinMax():
            return "numbers"
        case Impute(strategy="median"):
            return "sketch"
        case OneHot() | Ordinal() | Impute():
            return "categories"
        case Vocabulary():
            return "tokens"


def fit_column(  # noqa: PLR0911 - one return per kind
    transform: Transform | FittedBackbone,
    summary: Summary | None,
    *,
    median: float | None,
    feature: Feature,
    name: str,
) -> Fitted:
    """Return the transform, fitted; raise DataError, naming the column, if its values don't allow it."""
    match transform, summary:
        case FittedBackbone(), _:
            return transform
        case ScalePixels(), _ if isinstance(feature, ImageFeature):
            return FittedScalePixels(maximum=feature.maximum)
        case Polynomial(degree=degree), _:
            return FittedPolynomial(degree=degree)
        case Standardize(), NumberSummary():
            return _standardize(summary, name=name)
        case MinMax(), NumberSummary():
            minimum, maximum = _extremes(summary, name=name)
            return FittedMinMax(minimum=minimum, maximum=maximum)
        case OneHot() | Ordinal(), CategorySummary():
            kind = FittedOneHot if isinstance(transform, OneHot) else FittedOrdinal
            named = transform.categories if isinstance(transform, Ordinal) else None
            return kind(categories=named or tuple(sorted(_counts(summary, name=name))))
        case Vocabulary(size=size), CategorySummary():
            return FittedVocabulary(tokens=_most_frequent(_counts(summary, name=name), size, name=name))
        case Impute(), NumberSummary() | CategorySummary():
            return FittedImpute(value=_typical(summary, median, name=name), indicator=transform.indicator)
    raise TypeError(f"{name}: {transform.kind} on a {feature.type}, which check() would have refused")


def summary_after(fitted: Fitted, summary: Summary | None) -> Summary | None:
    """Return the summary of what a transform gives, where the summary of what it took is enough to know it exactly."""
    match fitted, summary:
        case FittedImpute(value=float(value)), NumberSummary():
            return summary.filled(value)
        case FittedImpute(value=float(value)), CategorySummary(counts=dict(counts)):
            return number_summary(merge_counts(counts, {value: summary.missing}))
        case FittedImpute(value=value), CategorySummary(counts=dict(counts)):
            filled = merge_counts(counts, {value: summary.missing})
            return CategorySummary(summary.rows, 0, filled, summary.limit)
        case FittedOrdinal(categories=categories), CategorySummary(counts=dict(counts)):
            ranks = {float(rank): counts.get(category, 0) for rank, category in enumerate(categories, start=1)}
            others = sum(counts.values()) - sum(ranks.values())
            return number_summary({0.0: summary.missing + others, **ranks})
    return None


def _typical(summary: NumberSummary | CategorySummary, median: float | None, *, name: str) -> float | str:
    """The median of numbers that have been summarized, the most frequent of values that have been counted."""
    if isinstance(summary, NumberSummary):
        value: float | str = _present(median, name=name)
    else:
        counts = _counts(summary, name=name)
        value = min(counts, key=lambda one: (-counts[one], one))  # of equally frequent ones the smallest
    if isinstance(value, float) and math.isinf(value):
        raise DataError(f"{name}: most training values are too large for float32; scale them")
    return value


def _most_frequent(counts: dict[str, int], size: int, *, name: str) -> tuple[str, ...]:
    """The most frequent tokens that a vocabulary can have, of equally frequent ones the smaller first."""
    known = sorted(filter(can_be_known, counts), key=lambda token: (-counts[token], token))
    return _present(tuple(known[:size]) or None, name=name)


def _standardize(summary: NumberSummary, *, name: str) -> FittedStandardize:
    minimum, maximum = _extremes(summary, name=name)
    mean, deviation = _present(summary.mean, name=name), _present(summary.standard_deviation, name=name)
    if minimum == maximum or deviation < _SMALLEST_SCALE:
        return FittedStandardize(mean=minimum, standard_deviation=0)
    return FittedStandardize(mean=mean, standard_deviation=deviation)


def _extremes(summary: NumberSummary, *, name: str) -> tuple[float, float]:
    """Return minimum and maximum; equal if float32 can't divide by what is between them."""
    minimum, maximum = _present(summary.minimum, name=name), _present(summary.maximum, name=name)
    if not all(abs(extreme) < _LARGEST for extreme in (minimum, maximum)):
        raise DataError(f"{name}: training values from {minimum} to {maximum} are too large for float32; scale them")
    return minimum, minimum if maximum - minimum < _SMALLEST_SCALE else maximum


def _counts(summary: CategorySummary, *, name: str) -> dict[Any, int]:
    if summary.counts is None:
        raise DataError(
            f"{name}: more than {summary.limit:,} different values in the training examples; take it out of "
            "normalize.transforms, or group its values before ingest"
        )
    return dict(_present(summary.counts or None, name=name))


def _present(value: Value | None, *, name: str) -> Value:
    if value is None:
        raise DataError(
            f"{name}: missing in every training example; take it out of normalize.transforms or fix the data"
        )
    return value
