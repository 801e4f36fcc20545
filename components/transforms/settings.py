"""Which transforms a column goes through."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.settings import Settings
from headrace.components.sources.file import SourceFile
from headrace.components.transforms.augment import Augment


class Standardize(Settings):
    """(x - mean) / standard deviation; a constant column becomes 0."""

    kind: Literal["standardize"] = "standardize"


class MinMax(Settings):
    """(x - minimum) / (maximum - minimum), by the training rows' extremes; a constant column becomes 0."""

    kind: Literal["min_max"] = "min_max"


class ScalePixels(Settings):
    """pixel / the feature's `maximum`, so that pixels run from 0 to 1; nothing is fitted."""

    kind: Literal["scale_pixels"] = "scale_pixels"


class OneHot(Settings):
    """One column per category seen in training, in sorted order, after a first one for any other category."""

    kind: Literal["one_hot"] = "one_hot"


class Ordinal(Settings):
    """The category's rank among those seen in training or, if given, in `categories` (1, 2, ...); 0 for any other."""

    kind: Literal["ordinal"] = "ordinal"
    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The categories in the order of their ranks; `null` for those seen in training, sorted."""


class Impute(Settings):
    """Fills missing values; with `indicator`, adds a column that is 1 where the value was missing."""

    kind: Literal["impute"] = "impute"
    strategy: Literal["median", "most_frequent"]
    """What replaces a missing value. `median` is for numbers; of equally frequent values the smallest is taken."""

    indicator: bool = False
    """Whether to add a last column that is 1 where the value was missing, else 0."""


class Polynomial(Settings):
    """`degree` columns: the Chebyshev polynomials of degree 1, 2, ... of what min_max gives, from 0 to 1."""

    kind: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=1, le=50)]
    """Number of columns: the polynomials of degree 1, 2 and so on."""


class Vocabulary(Settings):
    """Tokens of a text as numbers: the `size` most frequent of training are 2, 3, ...; 1 is any other, 0 is padding."""

    kind: Literal["vocabulary"] = "vocabulary"
    size: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Largest number of known tokens."""


BackboneName = Literal[
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "nasnet_mobile",
    "nasnet_large",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
]


class BackboneFeatures(Settings):
    """Which outputs of a network are the features of an image."""

    name: BackboneName
    """Name of the network in [Keras](https://keras.io/api/applications/)."""

    alpha: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Factor of the number of filters, for a MobileNet only."""

    layers: tuple[str, ...] = ()
    """Layers whose outputs are features, by Keras's names; without any, the last layer."""

    pooling: Annotated[tuple[Literal["average", "max", "flatten"], ...], Field(min_length=1)] = ("average",)
    """How the positions of a layer are reduced: by average, maximum, or not at all (`flatten`). Several are joined."""

    mirrored: bool = False
    """Whether features are the mean over the image and its mirror image, which takes twice the time."""

    augmented_copies: Annotated[int, Field(ge=0, le=100)] = 0
    """Number of additional feature vectors of each training image, of copies changed by `augment`. Each step draws one
    of them or the image's own; each copy takes the time of one more image.
    """

    augment: Augment | None = None
    """How copies are changed, as in `train.model.augment`; pixels are clipped to the range of the image."""

    @property
    def smallest_input(self) -> int:
        """Least height and width in pixels that Keras takes."""
        return 75 if self.name == "inception_v3" else 32

    @model_validator(mode="after")
    def _only_mobilenets_have_a_width(self) -> Self:
        if self.alpha != 1 and not self.name.startswith("mobilenet"):
            raise ValueError(f"alpha is the width of a mobilenet; {self.name} has none")
        return self

    @model_validator(mode="after")
    def _copies_are_augmented(self) -> Self:
        if bool(self.augmented_copies) != (self.augment is not None):
            raise ValueError("augmented_copies and augment belong together: how many more, and how they are changed")
        return self


class Backbone(BackboneFeatures):
    """Features of an image by a network that was trained on ImageNet and is not trained further; nothing is fitted.

    The network scales pixels as it was trained with.
    """

    kind: Literal["backbone"] = "backbone"
    weights: SourceFile
    """Keras's HDF5 file without the top: a file as in a source, or `$HEADRACE_MIRROR/weights/<name>`."""

    @model_validator(mode="after")
    def _weights_are_hdf5(self) -> Self:
        if not self.weights.name.endswith(".h5"):
            raise ValueError(f"weights.name {self.weights.name!r} must end in .h5: Keras's weights without the top")
        return self


Transform = Annotated[
    Standardize | MinMax | ScalePixels | OneHot | Ordinal | Impute | Polynomial | Vocabulary | Backbone,
    Field(discriminator="kind"),
]
LabelTransform = Annotated[Standardize | MinMax, Field(discriminator="kind")]
