"""What a model learns to give: a class, numbers, the next token, images."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.number_format import NumberFormat
from headrace.components.schema.settings import Settings


class LabelType(Settings):
    """A kind of label; what a model makes of it is its task."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, Feature]:
        """The label's columns as if they were features, by name, of each target one; none of a text or of images."""

    def check(self, features: Mapping[str, Feature]) -> None:
        """Raise ValueError if the label does not go with the features."""
        if answers := [name for name in self.columns if name in features]:
            raise ValueError(f"the label {answers[0]!r} is also a feature: a model would receive the answer")


class CategoryLabel(LabelType):
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

    @property
    def columns(self) -> dict[str, Feature]:
        """A category of these classes."""
        return {self.name: CategoryFeature(classes=self.classes)}


class NumberLabel(LabelType):
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

    @property
    def columns(self) -> dict[str, Feature]:
        """A number."""
        return {self.name: _as_feature(self)}


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


class NumbersLabel(LabelType):
    """Several numbers to predict at once, by their columns, kept as float64."""

    type: Literal["numbers"] = "numbers"
    targets: Annotated[dict[str, NumberTarget], Field(min_length=2)]
    """The numbers to predict, by column."""

    @property
    def name(self) -> str:
        """What they are called together; no column has this name."""
        return ", ".join(self.targets)

    @property
    def columns(self) -> dict[str, Feature]:
        """A number for each target."""
        return {name: _as_feature(target) for name, target in self.targets.items()}


class NextTokenLabel(LabelType):
    """After each token of the text feature `name`, the one that follows: a text of `length` + 1 tokens has `length`."""

    type: Literal["next_token"] = "next_token"
    name: str
    """The text feature whose next token is predicted; it is also the model's input."""

    @property
    def columns(self) -> dict[str, Feature]:
        """None: the tokens are the feature's."""
        return {}

    def check(self, features: Mapping[str, Feature]) -> None:
        """Raise ValueError unless it is of a text feature."""
        if self.name not in TextFeature.among(features):
            raise ValueError(f"label.name: next_token is of a text feature, and {self.name!r} is none")


class GeneratedLabel(LabelType):
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

    @property
    def columns(self) -> dict[str, Feature]:
        """None: the images are the feature's."""
        return {}

    def check(self, features: Mapping[str, Feature]) -> None:
        """Raise ValueError unless it is of an image feature and, if conditioned, by a category that has its classes."""
        if self.name not in ImageFeature.among(features):
            raise ValueError(f"label.name: generated are images, and {self.name!r} is no image feature")
        if self.by is None:
            return
        category = CategoryFeature.among(features).get(self.by)
        if category is None or category.nullable or category.classes != self.classes:
            raise ValueError(
                "label.by: expected a category among the features, never missing, with the classes "
                f"{', '.join(self.classes or ())}; found {self.by!r}: {features.get(self.by) or 'no feature'}"
            )


Label = Annotated[
    CategoryLabel | NumberLabel | NumbersLabel | NextTokenLabel | GeneratedLabel, Field(discriminator="type")
]


def _as_feature(number: NumberLabel | NumberTarget) -> NumberFeature:
    return NumberFeature(minimum=number.minimum, maximum=number.maximum, number_format=number.number_format)
