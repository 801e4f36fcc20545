"""How images are changed at random, for training alone."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.settings import Settings


class Augment(Settings):
    """Changes each image at random while training, at each step anew: as it is evaluated and saved, a model has none.

    Shifts are shares of height and width; zoom scales both, each by a factor of its own. Brightness is added to the
    pixels, contrast multiplies their distance to the image's mean; nothing is clipped.
    """

    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 0.0
    zoom: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    brightness: Annotated[float, Field(ge=0, le=10)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    fill: Literal["zero", "nearest"] = "zero"

    @property
    def moves(self) -> bool:
        """Whether pixels change their places."""
        return bool(self.shift or self.rotation_degrees or self.shear_degrees or self.zoom or self.flip != "none")

    @model_validator(mode="after")
    def _something_is_changed(self) -> Self:
        if not (self.moves or self.brightness or self.contrast):
            raise ValueError("nothing is changed; give one of shift, rotation_degrees, zoom ..., or leave augment out")
        return self
