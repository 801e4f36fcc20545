"""Networks that others have trained, and that only predict."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.components.settings import Settings
from headrace.components.sources.file import SourceFile
from headrace.components.transforms.settings import BackboneName


class TfliteNetwork(Settings):
    """A TensorFlow Lite file, which says itself how large photos are, and whether it takes 8 bits or float32.

    Pixels in float32 run from -1 to 1.
    """

    kind: Literal["tflite"] = "tflite"
    weights: SourceFile


class KerasNetwork(Settings):
    """A network of Keras by name, with its top; `weights` is an HDF5 file, photos are `size` pixels wide and high."""

    kind: Literal["keras"] = "keras"
    name: BackboneName
    alpha: Annotated[float, Field(gt=0, le=4)] = 1.0
    size: Annotated[int, Field(ge=32, le=1024)] = 224
    weights: SourceFile


class Classifier(Settings):
    """A network for photos that only predicts: nothing of it is trained here.

    `labels` has one name a line, which may begin with its number; a network without a class for the background does
    without the first.
    """

    description: str
    network: Annotated[TfliteNetwork | KerasNetwork, Field(discriminator="kind")]
    labels: SourceFile
    resize: Literal["stretch", "crop", "pad"] = "stretch"
