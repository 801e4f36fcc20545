"""Scale pixels: images from 0 to 1."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.scaling import reciprocal
from headrace.components.transforms.transform import InvertibleTransform, ModelColumn, TableColumn, Transform

if TYPE_CHECKING:
    import polars as pl


class FittedScalePixels(InvertibleTransform):
    """pixel / maximum."""

    kind: Literal["scale_pixels"] = "scale_pixels"
    maximum: Annotated[int, Field(ge=1, le=255)]

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Scaled pixels, Array(Float32, size)."""
        return column.values * reciprocal(self.maximum)

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """Scaled pixels, float32[batch, height, width, channels]."""
        return replace(column, values=column.values / float(self.maximum))

    def inverse(self, values: Any) -> Any:
        """Pixels from 0 to the maximum."""
        return values * float(self.maximum)


class ScalePixels(Transform):
    """pixel / the feature's `maximum`, so that pixels run from 0 to 1; nothing is fitted."""

    kind: Literal["scale_pixels"] = "scale_pixels"

    takes = ("image",)
    gives = "scaled pixels"
    fitted = FittedScalePixels
    takes_encoded = True

    def fit(self, column: ColumnStatistics) -> FittedScalePixels:
        """Take the feature's maximum, whatever the training images are like."""
        return FittedScalePixels(maximum=column.image.maximum)
