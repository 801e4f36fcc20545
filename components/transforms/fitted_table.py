"""The fitted transforms of all features: all that a table or a Keras model needs to apply them (statistics.json)."""

import math
from typing import Annotated, TypeVar

from pydantic import Field

from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.components.schema.settings import Settings
from headrace.components.transforms.backbone import FittedBackbone
from headrace.components.transforms.transform import FittedTransform
from headrace.components.transforms.variants import AnyFitted, FittedLabelTransform
from headrace.components.transforms.vocabulary import FIRST, FittedVocabulary

Variant = TypeVar("Variant", bound=FittedTransform)


class FittedFeature(Settings):
    """One feature, its transforms in order, and the shape of what comes out, without the batch axis."""

    feature: Feature
    transforms: tuple[AnyFitted, ...]
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
    def tokens(self) -> int | None:
        """How many ids there are, padding and the unknown token among them; None for what is no text."""
        return FIRST + len(self.vocabulary.tokens) if self.vocabulary else None

    # Two variants are known by name: a network's weights are a file, and the tokens of a text are its labels, too.

    @property
    def backbone(self) -> FittedBackbone | None:
        """The network that makes features of the image; None where there is none."""
        return self._first(FittedBackbone)

    @property
    def vocabulary(self) -> FittedVocabulary | None:
        """The known tokens of the text; None for what is no text."""
        return self._first(FittedVocabulary)

    def _first(self, variant: type[Variant]) -> Variant | None:
        return next((one for one in self.transforms if isinstance(one, variant)), None)


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
        return next((one.backbone for one in self.features.values() if one.backbone), None)
