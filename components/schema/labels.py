"""What a model learns to give: a class, numbers, the next token, images."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.number_format import NumberFormat
from headrace.components.schema.settings import Settings


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


Label = Annotated[
    CategoryLabel | NumberLabel | NumbersLabel | NextTokenLabel | GeneratedLabel, Field(discriminator="type")
]


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


def _as_feature(number: NumberLabel | NumberTarget) -> NumberFeature:
    return NumberFeature(minimum=number.minimum, maximum=number.maximum, number_format=number.number_format)
