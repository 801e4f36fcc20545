"""What an example is made of: its features and its label."""

import re
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.components.examples.date_formats import checked_date_format
from headrace.components.examples.number_format import NumberFormat
from headrace.components.settings import Settings, in_utc

ADDED_COLUMNS = ("example_id", "content_id", "group_id", "time", "given_split")
Fraction = Annotated[float, Field(ge=0, lt=1)]
Moment = Annotated[datetime, AfterValidator(in_utc)]
DateFormat = Annotated[str, Field(pattern=r"^(iso|.*%.*)$"), AfterValidator(checked_date_format)]


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
    tenth of the space and is for source kind `images` only.
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


class CategoryLabel(Settings):
    """The class to predict, kept as text; a class's index is its place in `classes`."""

    type: Literal["category"] = "category"
    name: str
    """Column of the label."""

    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """The classes, each once, in the order of the model's outputs. Of two, the second is the positive one."""

    @model_validator(mode="after")
    def _classes_differ(self) -> "CategoryLabel":
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")
        return self


class NumberLabel(Settings):
    """The number to predict, kept as float64."""

    type: Literal["number"] = "number"
    name: str
    """Column of the label."""

    unit: str = ""
    """Unit that the report shows; nothing is converted."""

    minimum: float | None = None
    """A row with a smaller value fails."""

    maximum: float | None = None
    """A row with a larger value fails."""

    number_format: NumberFormat | None = None
    """Format of numbers that are text in the source, unless they are plain, such as 1234.5."""


class NumberTarget(Settings):
    """One of several numbers to predict."""

    unit: str = ""
    """Unit that the report shows; nothing is converted."""

    minimum: float | None = None
    """A row with a smaller value fails."""

    maximum: float | None = None
    """A row with a larger value fails."""

    number_format: NumberFormat | None = None
    """Format of numbers that are text in the source, unless they are plain, such as 1234.5."""


class NumbersLabel(Settings):
    """Several numbers to predict at once, by their columns, kept as float64."""

    type: Literal["numbers"] = "numbers"
    targets: Annotated[dict[str, NumberTarget], Field(min_length=2)]
    """The numbers to predict, by column."""

    @property
    def name(self) -> str:
        """What they are called together; no column has this name."""
        return ", ".join(self.targets)


class NextTokenLabel(Settings):
    """After each token of the text feature `name`, the one that follows: a text of `length` + 1 tokens has `length`."""

    type: Literal["next_token"] = "next_token"
    name: str
    """The text feature whose next token is predicted; it is also the model's input."""


class GeneratedLabel(Settings):
    """Nothing is predicted: the model learns to make images like those of the image feature `name`."""

    type: Literal["generated"] = "generated"
    name: str
    """The image feature to imitate."""

    by: str | None = None
    """A category among the features, never missing, on which both networks are conditioned. The first number of the
    noise then decides the class of a generated image.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """The classes of that category."""

    @model_validator(mode="after")
    def _classes_are_those_of_a_category(self) -> Self:
        if (self.by is None) != (self.classes is None):
            raise ValueError("by and classes belong together: a category among the features, and its classes")
        return self


Feature = Annotated[ImageFeature | NumberFeature | CategoryFeature | TextFeature, Field(discriminator="type")]
Label = Annotated[
    CategoryLabel | NumberLabel | NumbersLabel | NextTokenLabel | GeneratedLabel, Field(discriminator="type")
]


def read_from(name: str, feature: Feature) -> tuple[str, ...]:
    """Return the columns of the source that a feature of this name is made of."""
    match feature:
        case CategoryFeature(column=str(column)):
            return (column,)
        case NumberFeature(sum_of=tuple(columns)):
            return columns
    return (name,)


class TimeColumn(Settings):
    """The column of the source that says when an example was made, and how it is written (see `date_format`)."""

    column: str
    """Name of the column; it need not be a feature."""

    date_format: DateFormat = "iso"
    """Format of Python's strptime with a year, or `iso`. A time without a zone is in UTC."""


class RowSchema(Settings):
    """The columns of a row, and what identifies it."""

    features: Annotated[dict[str, Feature], Field(min_length=1)]
    """The features of an example by name; `type` decides the keys of each."""

    key: tuple[str, ...] = ()
    """Columns of the source that identify a row, features or not. Without a key, its content identifies a row."""

    group: tuple[str, ...] = ()
    """Columns of the source that name the group of an example, such as a patient or user: a whole group is in one
    split.
    """

    time: TimeColumn | None = None
    """The column of the source with the time of an example."""

    @property
    def columns(self) -> dict[str, Feature]:
        """All that a row holds once it is typed."""
        return dict(self.features)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """All columns that the source must have."""
        time = () if self.time is None else (self.time.column,)
        read = [column for name, feature in self.columns.items() for column in read_from(name, feature)]
        return tuple(dict.fromkeys([*self.key, *self.group, *time, *read]))


class ExampleSchema(RowSchema):
    """What an example is made of: a row, and the label to predict from it."""

    label: Label
    """The column to predict; `type` decides the keys."""

    @model_validator(mode="after")
    def _columns_have_their_own_names(self) -> Self:
        of_label = self.features.get(self.label.name)
        if isinstance(self.label, NextTokenLabel):
            if not isinstance(of_label, TextFeature):
                raise ValueError(f"label.name: next_token is of a text feature, and {self.label.name!r} is none")
        elif isinstance(self.label, GeneratedLabel):
            if not isinstance(of_label, ImageFeature):
                raise ValueError(f"label.name: generated are images, and {self.label.name!r} is no image feature")
            self._require_category(self.label)
        elif answers := [name for name in label_column(self.label) if name in self.features]:
            raise ValueError(f"the label {answers[0]!r} is also a feature: a model would receive the answer")
        for name in (*self.features, self.label.name, *label_column(self.label)):
            if name in ADDED_COLUMNS or (name == "label" and name in self.features):
                raise ValueError(f"a column can't be called {name!r}: Headrace adds one of that name")
        return self

    def _require_category(self, label: GeneratedLabel) -> None:
        category = self.features.get(label.by) if label.by else None
        if label.by and (
            not isinstance(category, CategoryFeature) or category.nullable or category.classes != label.classes
        ):
            raise ValueError(
                "label.by: expected a category among the features, never missing, with the classes "
                f"{', '.join(label.classes or ())}; found {label.by!r}: {category if category else 'no feature'}"
            )

    @property
    def columns(self) -> dict[str, Feature]:
        """The features and, last, the label as a feature that is never missing: all that one example holds."""
        return {**self.features, **label_column(self.label)}

    @property
    def unique_columns(self) -> tuple[str, ...]:
        """Columns of which no two rows may have the same value."""
        return tuple(name for name, one in self.columns.items() if getattr(one, "unique", False))


def label_column(label: Label) -> dict[str, Feature]:
    """Return the label as if it were a feature, by its name; nothing for the tokens of a text, or for images.

    Of several numbers, there is one for each.
    """
    match label:
        case NumbersLabel(targets=targets):
            return {name: _as_feature(target) for name, target in targets.items()}
        case NumberLabel():
            return {label.name: _as_feature(label)}
        case CategoryLabel():
            return {label.name: CategoryFeature(classes=label.classes)}
        case NextTokenLabel() | GeneratedLabel():
            return {}


def label_width(label: Label) -> int:
    """Return how many values a model gives for an example: one for each class, or each number."""
    match label:
        case CategoryLabel():
            return len(label.classes)
        case NumbersLabel():
            return len(label.targets)
        case _:
            return 1


def _as_feature(number: NumberLabel | NumberTarget) -> NumberFeature:
    return NumberFeature(minimum=number.minimum, maximum=number.maximum, number_format=number.number_format)
