"""What an example has for a model to learn from: images, numbers, categories, texts."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.components.schema.date_formats import DateFormat
from headrace.components.schema.number_format import NumberFormat
from headrace.components.schema.settings import Settings


def _compiled(pattern: str) -> str:
    import polars as pl  # params.yaml is read where Airflow parses DAGs, which must not load Polars

    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {' '.join(str(error).split())}") from error
    return pattern


def _with_one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"{pattern!r} must have one group, in parentheses: the part that is taken")
    return pattern


class ImageFeature(Settings):
    """An image, stored as uint8[height * width * channels] in row-major order; pixels run from 0 to `maximum`."""

    type: Literal["image"] = "image"
    height: Annotated[int, Field(ge=1, le=4096)]
    """Height in pixels."""

    width: Annotated[int, Field(ge=1, le=4096)]
    """Width in pixels."""

    channels: Literal[1, 3, 4] = 1
    """Grey (1), RGB (3) or RGBA (4)."""

    maximum: Annotated[int, Field(ge=1, le=255)] = 255
    """Largest pixel value; a row with a larger one fails. Image files are scaled to it."""

    encoding: Literal["tensor", "encoded"] = "tensor"
    """How an image is stored: as pixels, or as the bytes of a JPEG or PNG, which training decodes. `encoded` takes a
    tenth of the space and is for image files: source kinds `images`, `parquet`, `arrow` and `tfrecord`.
    """

    resize: Literal["none", "stretch", "crop", "pad"] = "none"
    """What happens to an image file of another size. `none` rejects the row, `stretch` ignores proportions, `crop`
    scales and keeps the middle, `pad` scales and adds black.
    """

    @model_validator(mode="after")
    def _a_file_has_all_of_its_range(self) -> Self:
        if self.encoding == "encoded" and self.maximum != 255:
            raise ValueError("the pixels of an encoded image run to 255; leave maximum out")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return (self.height, self.width, self.channels)

    @property
    def size(self) -> int:
        """Number of values in one image."""
        return self.height * self.width * self.channels


class NumberFeature(Settings):
    """A number, stored as float64."""

    type: Literal["number"] = "number"
    nullable: bool = False
    """Whether a value may be missing. If so, the first transform must be `impute`."""

    minimum: float | None = None
    """A row with a smaller value fails; `headrace predict` only warns of it."""

    maximum: float | None = None
    """A row with a larger value fails; `headrace predict` only warns of it."""

    unique: bool = False
    """Whether all rows must have different values."""

    date_format: DateFormat | None = None
    """Format of dates or times in the source: that of Python's strptime with a year (`%d.%m.%Y`), or `iso` for ISO
    8601. They become days since 1970-01-01 (UTC).
    """

    number_format: NumberFormat | None = None
    """Format of numbers that are text in the source, unless they are plain, such as 1234.5."""

    sum_of: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """Columns of the source whose sum is the value; missing where one of them is."""

    @model_validator(mode="after")
    def _a_date_is_neither_sum_nor_number(self) -> Self:
        if self.sum_of and self.date_format:
            raise ValueError("dates can't be added up: give date_format or sum_of")
        if self.number_format and self.date_format:
            raise ValueError("a column has dates or numbers: give date_format or number_format")
        return self


class CategoryFeature(Settings):
    """A category, stored as text."""

    type: Literal["category"] = "category"
    nullable: bool = False
    """Whether a value may be missing. The empty text counts as missing."""

    classes: tuple[str, ...] | None = None
    """The values that are allowed; a row with another one fails. `null` allows any text."""

    pattern: Annotated[str, AfterValidator(_compiled)] | None = None
    """A regular expression (RE2) that the whole text must match."""

    unique: bool = False
    """Whether all rows must have different values."""

    column: str | None = None
    """The column of the source to read; `null` for the one with the feature's name."""

    extract: Annotated[str, AfterValidator(_with_one_group)] | None = None
    """A regular expression with one group, whose match in `column` is the category. It is missing where nothing
    matches.
    """

    @model_validator(mode="after")
    def _extract_has_a_column(self) -> Self:
        if self.extract and self.column is None:
            raise ValueError("extract needs column: the column of the source that it is extracted from")
        return self


class TextFeature(Settings):
    """A text, stored as it is, of which a model takes the first `length` tokens."""

    type: Literal["text"] = "text"
    length: Annotated[int, Field(ge=1, le=65_536)]
    """Number of tokens that the model takes. Longer texts are cut and shorter ones padded at the end."""

    unit: Literal["character", "word"] = "character"
    """A token is a character (a code point of Unicode), or a word between ASCII white space."""


Feature = Annotated[ImageFeature | NumberFeature | CategoryFeature | TextFeature, Field(discriminator="type")]


def images_of(features: Mapping[str, Feature]) -> dict[str, ImageFeature]:
    """The images among some features."""
    return {name: feature for name, feature in features.items() if isinstance(feature, ImageFeature)}


def categories_of(features: Mapping[str, Feature]) -> dict[str, CategoryFeature]:
    """The categories among some features."""
    return {name: feature for name, feature in features.items() if isinstance(feature, CategoryFeature)}


def is_encoded(feature: Feature) -> bool:
    """Whether examples have the bytes of an image file."""
    return isinstance(feature, ImageFeature) and feature.encoding == "encoded"


def read_from(name: str, feature: Feature) -> tuple[str, ...]:
    """Return the columns of the source that a feature of this name is made of."""
    match feature:
        case CategoryFeature(column=str(column)):
            return (column,)
        case NumberFeature(sum_of=tuple(columns)):
            return columns
    return (name,)
