"""How images are changed at random, for training alone."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Settings


class Augment(Settings):
    """Random changes of each image at each step of training; evaluation and the saved model have none."""

    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest move down or up, and right or left, as a share of height and width."""

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation, in both directions."""

    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Largest shear, in both directions."""

    zoom: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Height and width are each scaled by a factor from 1 - `zoom` to 1 + `zoom`."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    """Mirror half of the images left to right, top to bottom, or each independently (`both`)."""

    brightness: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Largest value that is added to or subtracted from all pixels as the model takes them: from 0 to 1 with
    `scale_pixels`. Nothing is clipped.
    """

    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Each pixel's distance to its channel's mean is multiplied by a factor from 1 - `contrast` to 1 + `contrast`."""

    fill: Literal["zero", "nearest"] = "zero"
    """Pixels from outside of the image: 0, or the value of the nearest pixel."""

    @property
    def moves(self) -> bool:
        """Whether pixels change their places."""
        return bool(self.shift or self.rotation_degrees or self.shear_degrees or self.zoom or self.flip != "none")

    @model_validator(mode="after")
    def _something_is_changed(self) -> Self:
        if not (self.moves or self.brightness or self.contrast):
            raise ValueError("nothing is changed; give one of shift, rotation_degrees, zoom ..., or leave augment out")
        return self
