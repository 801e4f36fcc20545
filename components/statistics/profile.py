"""What the data looks like, column by column: small enough to be kept beside every version of it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from itertools import chain, pairwise
from typing import Literal

import numpy as np
import polars as pl

from headrace.components.schema.decoding import pixels_of
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.settings import Settings
from headrace.components.statistics.sketch import Sketch, values_of_bins
from headrace.components.statistics.summary import (
    CategorySummary,
    ElementSummary,
    ImageSummary,
    NumberSummary,
    Summary,
    TableSummary,
    merge_all,
    summarize_categories,
    summarize_images,
    summarize_numbers,
    summarize_tokens,
)

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
MOST_CATEGORIES = 10_000  # that are counted one by one; of more, it is only known that there are more
_LISTED = 200
_LONGEST = 200
_BARS = 24
_PIXEL_BYTES = 1 << 26  # at once
_DECODED_IMAGES = 1 << 11
_ROWS_PER_BATCH = 1 << 18
_LARGEST = float(np.finfo(np.float32).max)


class Bar(Settings):
    """One bar of a histogram: what it counts, and how many."""

    label: str
    count: int


class ColumnProfile(Settings):
    """One column over all examples; what makes no sense for its type, or without a value, is None or empty."""

    type: Literal["number", "category", "image"]
    rows: int
    missing: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    standard_deviation: float | None = None
    deciles: tuple[float, ...] = ()  # from 10 % to 90 %
    decile_counts: tuple[int, ...] = ()  # values up to the first, from there up to the second, ..., above the last
    categories: int | None = None  # how many different ones; None also for more than MOST_CATEGORIES
    bars: tuple[Bar, ...] = ()  # a histogram; of categories the most frequent, beginning with the first
    others: int = 0  # values of all categories that have no bar

    @property
    def missing_fraction(self) -> float:
        """Share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0

    def shown_bars(self, *, most: int = 12) -> tuple[Bar, ...]:
        """Return the histogram; of a category no more than `most` bars and one for all others."""
        if self.type != "category":
            return self.bars
        rest = self.others + sum(bar.count for bar in self.bars[most:])
        return (*self.bars[:most], *([Bar(label="all others", count=rest)] if rest else []))


class Profile(Settings):
    """All columns of a table, the label among them."""

    rows: int
    columns: dict[str, ColumnProfile]


def summarize_table(table: pl.DataFrame, *, columns: Mapping[str, Feature], decoded_of: int = 1) -> TableSummary:
    """Summary that a profile is made of; summaries of parts of a table merge to that of the whole.

    A text counts as its tokens, and a list as its numbers: a column with a row for each. Of `decoded_of` encoded images
    about one is decoded, by `example_id`.
    """
    summaries = {name: _summarize(name, feature, table, decoded_of) for name, feature in columns.items()}
    return TableSummary(table.height, summaries)


def decoded_of(rows: int) -> int:
    """One of how many encoded images is decoded for the profile of so many rows: 2,048 are enough."""
    return 1 + rows // _DECODED_IMAGES


def profile_of(summary: TableSummary) -> Profile:
    """Return the profile of a table from its summary."""
    return Profile(rows=summary.rows, columns={name: _column(one) for name, one in summary.columns.items()})


def profile(examples: pl.LazyFrame, *, features: Mapping[str, Feature]) -> dict[str, ColumnProfile]:
    """Return the profiles of some columns of a table that may be larger than memory."""
    step = decoded_of(int(examples.select(pl.len()).collect().item()))
    rows = examples.select("^example_id$", *features)  # where there is one
    pixels = sum(one.values_per_row for one in features.values() if not one.is_single and one.input_dtype == "float32")
    batches = rows.collect_batches(chunk_size=min(_ROWS_PER_BATCH, max(1, _PIXEL_BYTES // max(1, pixels))))
    tables = chain([rows.head(0).collect()], batches)  # at least one, whatever there is
    return profile_of(merge_all(summarize_table(table, columns=features, decoded_of=step) for table in tables)).columns


def _summarize_pixels(images: pl.Series, feature: ImageFeature) -> ImageSummary:
    """Decoded a block at a time: a shard of photos has a hundred times its size in pixels."""
    rows = max(1, _PIXEL_BYTES // feature.size)
    blocks = [images[begin : begin + rows] for begin in range(0, max(1, len(images)), rows)]
    return reduce(ImageSummary.merge, (summarize_images(pixels_of(block, feature)) for block in blocks))


def _summarize(name: str, feature: Feature, table: pl.DataFrame, decoded_of: int) -> Summary:
    match feature.summarized_as:
        case "pixels" if feature.is_encoded and decoded_of > 1:
            some = table.filter(pl.col("example_id") % decoded_of == 0)[name]
            return replace(_summarize_pixels(some, ImageFeature.require(feature)), rows=table.height)
        case "pixels":
            return _summarize_pixels(table[name], ImageFeature.require(feature))
        case "numbers":
            numbers = _raw_values(name, feature, table)
            return summarize_numbers(numbers.explode() if numbers.dtype.is_nested() else numbers, sketch=True)
        case "categories":
            return summarize_categories(_raw_values(name, feature, table), limit=MOST_CATEGORIES)
        case "tokens":
            return summarize_tokens(table[name], TextFeature.require(feature), limit=MOST_CATEGORIES)


def _raw_values(name: str, feature: Feature, table: pl.DataFrame) -> pl.Series:
    """Of the column alone: a selection of a table takes longer the more columns it has."""
    return table.get_column(name).to_frame().select(feature.raw_values(pl.col(name))).to_series()


def _column(summary: Summary) -> ColumnProfile:
    match summary:
        case NumberSummary():
            return _number(summary)
        case CategorySummary():
            return _category(summary)
        case ElementSummary():
            raise TypeError("the profile of a vector is made of the summary of all its numbers")
        case ImageSummary():
            return ColumnProfile(
                type="image",
                rows=summary.rows,
                minimum=summary.minimum,
                maximum=summary.maximum,
                mean=summary.mean,
                standard_deviation=summary.standard_deviation,
                bars=tuple(
                    Bar(label=f"{16 * place} to {16 * place + 15}", count=count)
                    for place, count in enumerate(pixel_counts(summary))
                ),
            )


def pixel_counts(summary: ImageSummary) -> list[int]:
    """Return a histogram of all pixels, 16 values to a bin."""
    counts: list[int] = np.array(summary.pixels).reshape(16, 16).sum(axis=1).tolist()
    return counts


def _number(summary: NumberSummary) -> ColumnProfile:
    if summary.sketch is None or summary.minimum is None or summary.maximum is None:
        return ColumnProfile(type="number", rows=summary.rows, missing=summary.missing)
    minimum, maximum = finite(summary.minimum), finite(summary.maximum)
    deciles = tuple(finite(summary.quantile(fraction) or 0.0) for fraction in DECILES)
    return ColumnProfile(
        type="number",
        rows=summary.rows,
        missing=summary.missing,
        minimum=minimum,
        maximum=maximum,
        mean=summary.mean,
        standard_deviation=summary.standard_deviation,
        deciles=deciles,
        decile_counts=counts_between(summary.sketch, deciles),
        bars=_number_bars(summary.sketch, minimum, maximum),
    )


def counts_between(sketch: Sketch, ends: tuple[float, ...]) -> tuple[int, ...]:
    """Number of values up to the first of `ends`, from there up to the second, ..., above the last."""
    sums = [0, *sketch.count_up_to(ends), sketch.total]
    return tuple(after - before for before, after in pairwise(sums))


def _number_bars(sketch: Sketch, minimum: float, maximum: float) -> tuple[Bar, ...]:
    """Bars of equal width, as narrow as the sketch can distinguish values; a constant fills the first."""
    width = (maximum - minimum) or 1.0
    widest_bin = max(abs(minimum), abs(maximum)) * 2**-7
    number = max(1, min(_BARS, int(width / widest_bin))) if widest_bin else _BARS
    places = values_of_bins(sketch.bins).clip(minimum, maximum)
    indices = np.minimum(((places - minimum) / width * number).astype(np.int64), number - 1)
    counts = np.bincount(indices, sketch.counts, number).astype(np.int64).tolist()
    edges = [minimum + width * index / number for index in range(number + 1)]
    return tuple(
        Bar(label=f"{low:.4g} to {high:.4g}", count=count)
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )


def _category(summary: CategorySummary) -> ColumnProfile:
    ordered = sorted((summary.counts or {}).items(), key=lambda one: (-one[1], one[0]))
    listed = [(text, count) for text, count in ordered[:_LISTED] if len(text) <= _LONGEST]
    return ColumnProfile(
        type="category",
        rows=summary.rows,
        missing=summary.missing,
        categories=None if summary.counts is None else len(ordered),
        bars=tuple(Bar(label=text, count=count) for text, count in listed),
        others=summary.rows - summary.missing - sum(count for _, count in listed),
    )


def finite(value: float) -> float:
    """Return the value, or float32's largest for an infinity, which JSON has no number for."""
    return min(max(value, -_LARGEST), _LARGEST)
