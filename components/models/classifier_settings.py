"""Networks that others have trained, and that only predict."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.components.schema.settings import Settings
from headrace.components.sources.file import SourceFile
from headrace.components.transforms.backbone import BackboneName


class TfliteNetwork(Settings):
    """A TensorFlow Lite file, which says itself how large photos are, and whether it takes 8 bits or float32.

    Pixels in float32 run from -1 to 1.
    """

    kind: Literal["tflite"] = "tflite"
    weights: SourceFile
    """The file, as in a source, or `$HEADRACE_MIRROR/weights/<name>`."""


class KerasNetwork(Settings):
    """A network of Keras by name, with its top; `weights` is an HDF5 file, photos are `size` pixels wide and high."""

    kind: Literal["keras"] = "keras"
    name: BackboneName
    """Name of the network in Keras."""

    alpha: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Factor of the number of filters, for a MobileNet only."""

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Height and width of photos; Inception-v3 was trained on 299."""

    weights: SourceFile
    """Keras's HDF5 file with the top, as in a source, or `$HEADRACE_MIRROR/weights/<name>`."""


class Classifier(Settings):
    """A network for photos that only predicts: nothing of it is trained here.

    `labels` has one name a line, which may begin with its number; a network without a class for the background does
    without the first.
    """

    description: str
    """One line for readers of the file."""

    network: Annotated[TfliteNetwork | KerasNetwork, Field(discriminator="kind")]
    """The network, and where its file comes from."""

    labels: SourceFile
    """A text file with one class per line, with its number or without, in the order of the network's outputs."""

    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """How photos are scaled to the network's size."""
