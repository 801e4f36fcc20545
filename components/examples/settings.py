"""What an example is made of: its features and its label."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.settings import Settings


class ImageFeature(Settings):
    """An image, kept as uint8[height * width * channels] in row-major order; pixels run from 0 to `maximum`."""

    type: Literal["image"] = "image"
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3, 4] = 1
    maximum: Annotated[int, Field(ge=1, le=255)] = 255

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return (self.height, self.width, self.channels)

    @property
    def size(self) -> int:
        """Number of values in one image."""
        return self.height * self.width * self.channels


class NumberFeature(Settings):
    """A number, kept as float64; null only where `nullable`."""

    type: Literal["number"] = "number"
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None


class CategoryFeature(Settings):
    """A word from a set, kept as text; `classes` closes the set, without it any text is accepted."""

    type: Literal["category"] = "category"
    nullable: bool = False
    classes: tuple[str, ...] | None = None


class CategoryLabel(Settings):
    """The class to predict, kept as text; a class's index is its place in `classes`."""

    type: Literal["category"] = "category"
    name: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _classes_differ(self) -> "CategoryLabel":
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")
        return self


class NumberLabel(Settings):
    """The number to predict, kept as float64."""

    type: Literal["number"] = "number"
    name: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None


Feature = Annotated[ImageFeature | NumberFeature | CategoryFeature, Field(discriminator="type")]
Label = Annotated[CategoryLabel | NumberLabel, Field(discriminator="type")]
