"""What is known of the columns of a table. Summaries of parts merge exactly: any parts, in any order, give the same."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from headrace.components.examples.tokens import blocks_of, joined, tokens_of
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.statistics.exact_sums import FLOAT32_EXPONENT, exact_sums
from headrace.components.statistics.sketch import Sketch, merge_counts, sketch_of, value_of_bin


@dataclass(frozen=True)
class NumberSummary:
    """Numbers, as float32. NaN counts as missing; infinities count in the extremes and not in the sums."""

    rows: int
    missing: int = 0
    infinite: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: int = 0  # in units of 2**-149
    total_of_squares: int = 0  # in units of 2**-298
    sketch: Sketch | None = None

    def merge(self, other: "NumberSummary") -> "NumberSummary":
        """Return the summary of both columns, one below the other."""
        return NumberSummary(
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            minimum=_extreme(min, self.minimum, other.minimum),
            maximum=_extreme(max, self.maximum, other.maximum),
            total=self.total + other.total,
            total_of_squares=self.total_of_squares + other.total_of_squares,
            sketch=self.sketch.merge(other.sketch) if self.sketch and other.sketch else None,
        )

    @property
    def present(self) -> int:
        """How many rows have a value."""
        return self.rows - self.missing

    @property
    def mean(self) -> float | None:
        """The mean of the finite values, correctly rounded; None if there are none."""
        return _mean(self.present - self.infinite, self.total, exponent=FLOAT32_EXPONENT)

    @property
    def standard_deviation(self) -> float | None:
        """The population's standard deviation of the finite values; no digit of it is lost to cancellation."""
        count = self.present - self.infinite
        return _standard_deviation(count, self.total, self.total_of_squares, exponent=FLOAT32_EXPONENT)

    def quantile(self, fraction: float) -> float | None:
        """Return the value below which `fraction` of the values lie, from the sketch; None if there are none."""
        if not self.sketch or self.minimum is None or self.maximum is None:
            return None
        (place,) = self.sketch.bins_at([math.floor(fraction * (self.present - 1))])
        return min(max(value_of_bin(place), self.minimum), self.maximum)

    def filled(self, value: float) -> "NumberSummary":
        """Return the summary of the column with a float32 value wherever one is missing; it has no sketch."""
        present = replace(self, rows=self.present, missing=0, sketch=None)
        return present.merge(number_summary({value: self.missing}))


@dataclass(frozen=True)
class CategorySummary:
    """How often each text, or each float32 number, occurs; `counts` is None if more than `limit` different ones do."""

    rows: int
    missing: int
    counts: Mapping[Any, int] | None
    limit: int

    def merge(self, other: "CategorySummary") -> "CategorySummary":
        """Return the summary of both columns, one below the other."""
        counts = None
        if self.counts is not None and other.counts is not None:
            counts = _within(self.limit, merge_counts(self.counts, other.counts))
        return CategorySummary(self.rows + other.rows, self.missing + other.missing, counts, self.limit)


@dataclass(frozen=True)
class ImageSummary:
    """Images of uint8: how often each of the 256 values of a pixel occurs."""

    rows: int
    pixels: tuple[int, ...]

    def merge(self, other: "ImageSummary") -> "ImageSummary":
        """Return the summary of both columns, one below the other."""
        return ImageSummary(
            self.rows + other.rows, tuple(one + more for one, more in zip(self.pixels, other.pixels, strict=True))
        )

    @property
    def missing(self) -> int:
        """An image is never missing."""
        return 0

    @property
    def minimum(self) -> int | None:
        """The darkest pixel; None without images."""
        return next((value for value, count in enumerate(self.pixels) if count), None)

    @property
    def maximum(self) -> int | None:
        """The brightest pixel; None without images."""
        return next((255 - value for value, count in enumerate(reversed(self.pixels)) if count), None)

    @property
    def mean(self) -> float | None:
        """The mean of all pixels, correctly rounded."""
        return _mean(sum(self.pixels), self._total)

    @property
    def standard_deviation(self) -> float | None:
        """The standard deviation of all pixels."""
        squares = sum(value**2 * count for value, count in enumerate(self.pixels))
        return _standard_deviation(sum(self.pixels), self._total, squares)

    @property
    def _total(self) -> int:
        return sum(value * count for value, count in enumerate(self.pixels))


@dataclass(frozen=True)
class ElementSummary:
    """Lists of as many numbers in each row: the numbers of each place."""

    elements: tuple[NumberSummary, ...]

    @property
    def rows(self) -> int:
        """How many lists there are."""
        return self.elements[0].rows

    @property
    def missing(self) -> int:
        """A list is never missing."""
        return 0

    def merge(self, other: "ElementSummary") -> "ElementSummary":
        """Return the summary of both columns, one below the other."""
        pairs = zip(self.elements, other.elements, strict=True)
        return ElementSummary(tuple(one.merge(more) for one, more in pairs))


Summary = NumberSummary | CategorySummary | ImageSummary | ElementSummary


@dataclass(frozen=True)
class TableSummary:
    """The columns of a table."""

    rows: int
    columns: Mapping[str, Summary]

    def merge(self, other: "TableSummary") -> "TableSummary":
        """Return the summary of both tables, one below the other."""
        columns = {
            name: summary.merge(other.columns[name])  # type: ignore[arg-type]  # of one type, as of one name
            for name, summary in self.columns.items()
        }
        return TableSummary(self.rows + other.rows, columns)


def merge_all(summaries: Iterable[TableSummary]) -> TableSummary:
    """Return the summary of all tables, of which there is at least one."""
    return reduce(TableSummary.merge, summaries)


def summarize_numbers(values: pl.Series, *, sketch: bool = False) -> NumberSummary:
    """Return the summary of a numeric column; a sketch costs about as much as all else."""
    numbers = present_numbers(values)
    missing = len(values) - len(numbers)
    if not len(numbers):
        return NumberSummary(len(values), missing, sketch=sketch_of(numbers) if sketch else None)
    minimum, maximum = float(numbers.min()), float(numbers.max())
    finite = numbers if math.isfinite(minimum) and math.isfinite(maximum) else numbers[np.isfinite(numbers)]
    total, squares = exact_sums(finite)
    return NumberSummary(
        rows=len(values),
        missing=missing,
        infinite=len(numbers) - len(finite),
        minimum=minimum,
        maximum=maximum,
        total=total,
        total_of_squares=squares,
        sketch=sketch_of(numbers) if sketch else None,
    )


def summarize_elements(values: pl.Series) -> ElementSummary:
    """Return the summary of a column Array(Float32, size), place by place."""
    columns = values.to_numpy().T
    return ElementSummary(tuple(summarize_numbers(pl.Series(np.ascontiguousarray(one))) for one in columns))


def present_numbers(values: pl.Series) -> np.ndarray:
    """Return the float32 values of a column that are neither null nor NaN, with 0 for -0."""
    present = values.drop_nulls()
    # Polars's own conversion, with a copy after it to add to, takes half as long again.
    numbers = (present if present.dtype == pl.Float64 else present.cast(pl.Float32)).to_numpy()
    with np.errstate(over="ignore"):  # what float32 can't hold is infinite
        numbers = numbers.astype(np.float32)
    numbers += np.float32(0)
    has_missing = len(numbers) and np.isnan(numbers.min())
    return numbers[~np.isnan(numbers)] if has_missing else numbers


def number_summary(counts: Mapping[float, int]) -> NumberSummary:
    """Return the summary, without a sketch, of a column where each float32 value, none NaN, occurs so many times."""
    values = {value: count for value, count in counts.items() if count}
    finite = [(_units(value), count) for value, count in values.items() if math.isfinite(value)]
    return NumberSummary(
        rows=sum(values.values()),
        infinite=sum(values.values()) - sum(count for _, count in finite),
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        total=sum(units * count for units, count in finite),
        total_of_squares=sum(units**2 * count for units, count in finite),
    )


def summarize_categories(values: pl.Series, *, limit: int) -> CategorySummary:
    """Return the summary of a column of texts, or of numbers as float32 (where NaN is missing)."""
    present = values.drop_nulls() if values.dtype == pl.String else pl.Series(present_numbers(values))
    found = present.alias("value").value_counts()
    counts = dict(found.iter_rows()) if found.height <= limit else None
    return CategorySummary(len(values), len(values) - len(present), counts, limit)


def summarize_tokens(texts: pl.Series, feature: TextFeature, *, limit: int) -> CategorySummary:
    """Counts of the tokens of all texts, as if each token were a row."""
    tokens = (joined(tokens_of(block, unit=feature.unit)) for block in blocks_of(texts, feature.length))
    return reduce(CategorySummary.merge, (summarize_categories(one, limit=limit) for one in tokens))


def summarize_images(images: pl.Series) -> ImageSummary:
    """Return the summary of a column of images, Array(UInt8, size) without nulls."""
    pixels = np.ascontiguousarray(images.to_numpy())
    # Pillow counts faster than NumPy, and takes no empty image.
    counts = Image.fromarray(pixels).histogram() if pixels.size else [0] * 256
    return ImageSummary(len(images), tuple(counts))


def _within(limit: int, counts: dict[Any, int]) -> dict[Any, int] | None:
    return counts if len(counts) <= limit else None


def _extreme(choose: Callable[..., float], left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return choose(left, right)


def _units(value: float) -> int:
    """A finite float32 value in units of 2**-149."""
    numerator, denominator = value.as_integer_ratio()
    return (numerator << FLOAT32_EXPONENT) // denominator


def _mean(count: int, total: int, *, exponent: int = 0) -> float | None:
    # Python divides whole numbers of any size with one rounding.
    return total / (count << exponent) if count else None


def _standard_deviation(count: int, total: int, squares: int, *, exponent: int = 0) -> float | None:
    return math.sqrt((count * squares - total**2) / (count**2 << 2 * exponent)) if count else None
