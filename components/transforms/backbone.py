"""Backbone: features of an image by a network that was trained on ImageNet.

The network itself is in `backbone_network`; `backbone_features` computes what it sees, as a column of a table.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.errors import DataError, ParamsError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.settings import Settings
from headrace.components.sources.file import SourceFile
from headrace.components.transforms.augment import Augment
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.transform import FittedTransform, ModelColumn, Position, TableColumn, Transform

if TYPE_CHECKING:
    import polars as pl

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


class FittedBackbone(FittedTransform, BackboneFeatures):
    """A network's values for an image. Its weights are in the file `weights_file` beside this one."""

    kind: Literal["backbone"] = "backbone"
    weights_file: str
    weights_sha256: str
    width: Annotated[int, Field(ge=1)]

    def read_weights(self, folder: Path) -> bytes:
        """Content of the weights' file in `folder`; raise DataError where it is not there, or another."""
        file = folder / self.weights_file
        try:
            weights = file.read_bytes()
        except OSError as error:
            raise DataError(f"can't read {file}: {error.strerror}; `headrace normalize` puts it there") from error
        if (found := hashlib.sha256(weights).hexdigest()) != self.weights_sha256:
            raise DataError(
                f"{file} is not what the features were made with: expected SHA-256 {self.weights_sha256}, found {found}"
            )
        return weights

    def table_form(self, column: TableColumn) -> "pl.Expr":  # noqa: ARG002 - there is no such form
        """Raise TypeError: `with_features` computes the column before."""
        raise TypeError("a backbone is no expression; its features are computed before")

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """float32[batch, width] from raw pixels."""
        from headrace.components.transforms.backbone_network import backbone_model

        image = ImageFeature.require(column.feature)
        model = backbone_model(self, image, weights=column.backbone_weights)
        return replace(column, values=model(column.values))

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:  # noqa: ARG002 - whatever the image's
        """The features of one image."""
        return (self.width,)


class Backbone(Transform, BackboneFeatures):
    """Features of an image by a network that was trained on ImageNet and is not trained further; nothing is fitted.

    The network scales pixels as it was trained with.
    """

    kind: Literal["backbone"] = "backbone"
    weights: SourceFile
    """Keras's HDF5 file without the top: a file as in a source, or `$HEADRACE_MIRROR/weights/<name>`."""

    takes = ("image",)
    gives = "a backbone's features"
    fitted = FittedBackbone
    shape_follows_from_data = True
    takes_encoded = True

    @model_validator(mode="after")
    def _weights_are_hdf5(self) -> Self:
        if not self.weights.name.endswith(".h5"):
            raise ValueError(f"weights.name {self.weights.name!r} must end in .h5: Keras's weights without the top")
        return self

    def check(self, at: Position) -> None:
        """Raise ParamsError for images without colours, or smaller than the network takes."""
        height, width, channels = ImageFeature.require(at.feature).shape
        if channels != 3:
            raise ParamsError(f"{at.place}: a backbone takes images of 3 channels, found {channels}; set channels: 3")
        if min(height, width) < (least := self.smallest_input):
            raise ParamsError(
                f"{at.place}: {self.name} takes images of at least {least} x {least} pixels, found {height} x {width}; "
                "raise the feature's height and width"
            )

    def fit(self, column: ColumnStatistics) -> FittedBackbone:
        """Take the width, and the digest of the weights; raise DataError where they are not this network's."""
        from headrace.components.transforms.backbone_network import feature_width

        weights = column.backbone_weights
        return FittedBackbone(
            **self.model_dump(exclude={"kind", "weights"}),
            weights_file=self.weights.name,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            width=feature_width(self, column.image, weights=weights),
        )
