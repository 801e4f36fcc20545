"""What transforms were fitted to: all that a table or a Keras model needs to apply them (statistics.json)."""

import math
from typing import Annotated, Literal

from pydantic import Field

from headrace.components.examples.settings import Feature, Label
from headrace.components.settings import Settings
from headrace.components.transforms.settings import BackboneFeatures

PADDING, UNKNOWN = 0, 1  # ids of tokens that no vocabulary has
FIRST = 2  # the id of a vocabulary's first token

Categories = Annotated[tuple[str, ...], Field(min_length=1)]


class FittedStandardize(Settings):
    """(x - mean) / standard deviation of the training rows (population); a deviation of 0 makes every value 0."""

    kind: Literal["standardize"] = "standardize"
    mean: float
    standard_deviation: Annotated[float, Field(ge=0)]

    @property
    def shift(self) -> float:
        """What is subtracted from a value."""
        return self.mean

    @property
    def scale(self) -> float:
        """What a value is then divided by; 0 for a constant column."""
        return self.standard_deviation


class FittedMinMax(Settings):
    """(x - minimum) / (maximum - minimum) of the training rows; equal extremes make every value 0."""

    kind: Literal["min_max"] = "min_max"
    minimum: float
    maximum: float

    @property
    def shift(self) -> float:
        """What is subtracted from a value."""
        return self.minimum

    @property
    def scale(self) -> float:
        """What a value is then divided by; 0 for a constant column."""
        return self.maximum - self.minimum


class FittedScalePixels(Settings):
    """pixel / maximum."""

    kind: Literal["scale_pixels"] = "scale_pixels"
    maximum: Annotated[int, Field(ge=1, le=255)]


class FittedOneHot(Settings):
    """A first column for any other category and for a missing one, then one column per category."""

    kind: Literal["one_hot"] = "one_hot"
    categories: Categories


class FittedOrdinal(Settings):
    """1, 2, ... by the place in `categories`; 0 for any other category and for a missing one."""

    kind: Literal["ordinal"] = "ordinal"
    categories: Categories


class FittedImpute(Settings):
    """`value` where there was none; with `indicator`, a last column that is 1 there and 0 elsewhere."""

    kind: Literal["impute"] = "impute"
    value: float | str
    indicator: bool


class FittedPolynomial(Settings):
    """The Chebyshev polynomials of degree 1 to `degree` of 2 * x - 1."""

    kind: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=1)]


class FittedVocabulary(Settings):
    """2, 3, ... by the place in `tokens`, the most frequent first; 1 for any other token, 0 after a text's end."""

    kind: Literal["vocabulary"] = "vocabulary"
    tokens: Categories


class FittedBackbone(BackboneFeatures):
    """A network's values for an image. Its weights are in the file `weights_file` beside this one."""

    kind: Literal["backbone"] = "backbone"
    weights_file: str
    weights_sha256: str
    width: Annotated[int, Field(ge=1)]


Fitted = Annotated[
    FittedStandardize
    | FittedMinMax
    | FittedScalePixels
    | FittedOneHot
    | FittedOrdinal
    | FittedImpute
    | FittedPolynomial
    | FittedVocabulary
    | FittedBackbone,
    Field(discriminator="kind"),
]
FittedLabelTransform = Annotated[FittedStandardize | FittedMinMax, Field(discriminator="kind")]


class FittedFeature(Settings):
    """One feature, its transforms in order, and the shape of what comes out, without the batch axis."""

    feature: Feature
    transforms: tuple[Fitted, ...]
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of values that come out for one example."""
        return math.prod(self.shape)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of what is stored of one example and trained on: (copies, width) where there are augmented copies."""
        copies = self.backbone.augmented_copies if self.backbone else 0
        return (1 + copies, *self.shape) if copies else self.shape

    @property
    def backbone(self) -> FittedBackbone | None:
        """The network that makes features of the image; None where there is none."""
        return next((one for one in self.transforms if isinstance(one, FittedBackbone)), None)

    @property
    def tokens(self) -> int | None:
        """How many ids there are, padding and the unknown token among them; None for what is no text."""
        vocabularies = [one for one in self.transforms if isinstance(one, FittedVocabulary)]
        return FIRST + len(vocabularies[0].tokens) if vocabularies else None


class FittedTable(Settings):
    """All features that the model takes, in the order it takes them, and the label."""

    features: dict[str, FittedFeature]
    label: Label
    label_transform: FittedLabelTransform | None = None
    label_transforms: tuple[FittedLabelTransform, ...] = ()  # of several numbers, in their order
    training_examples: Annotated[int, Field(ge=1)]

    @property
    def tokens(self) -> int | None:
        """How many ids the tokens of the one text have that the model takes; None if it takes something else."""
        return next(iter(self.features.values())).tokens

    @property
    def backbone(self) -> FittedBackbone | None:
        """The network that makes features of the one image that the model takes; None where there is none."""
        return next(iter(self.features.values())).backbone
