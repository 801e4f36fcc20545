"""Images: pixels, or the bytes of JPEG and PNG files, which training decodes."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.feature_types.feature_type import FeatureType, Rule, Summarized, raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import polars as pl
    import pyarrow as pa

_SIDE = 16  # of an image, in blocks whose mean is a value for a linear model
_MOST_PIXELS = 1 << 22  # at once


class ImageFeature(FeatureType):
    """An image, stored as uint8[height * width * channels] in row-major order; pixels run from 0 to `maximum`."""

    type: Literal["image"] = "image"
    height: Annotated[int, Field(ge=1, le=4096)]
    """Height in pixels."""

    width: Annotated[int, Field(ge=1, le=4096)]
    """Width in pixels."""

    channels: Literal[1, 3, 4] = 1
    """Grey (1), RGB (3) or RGBA (4)."""

    maximum: Annotated[int, Field(ge=1, le=255)] = 255
    """Largest pixel value; a row with a larger one fails. Image files are scaled to it."""

    encoding: Literal["tensor", "encoded"] = "tensor"
    """How an image is stored: as pixels, or as the bytes of a JPEG or PNG, which training decodes. `encoded` takes a
    tenth of the space and is for image files: source kinds `images`, `parquet`, `arrow` and `tfrecord`.
    """

    resize: Literal["none", "stretch", "crop", "pad"] = "none"
    """What happens to an image file of another size. `none` rejects the row, `stretch` ignores proportions, `crop`
    scales and keeps the middle, `pad` scales and adds black.
    """

    described: ClassVar[str] = "an image"
    summarized_as: ClassVar[Summarized] = "pixels"
    is_input_of_its_own: ClassVar[bool] = True
    simple_columns: ClassVar[str] = f"pixels, in at most {_SIDE} x {_SIDE} blocks"

    @model_validator(mode="after")
    def _a_file_has_all_of_its_range(self) -> Self:
        if self.encoding == "encoded" and self.maximum != 255:
            raise ValueError("the pixels of an encoded image run to 255; leave maximum out")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return (self.height, self.width, self.channels)

    @property
    def size(self) -> int:
        """Number of values in one image."""
        return self.height * self.width * self.channels

    @property
    def is_encoded(self) -> bool:
        """Whether examples have the bytes of an image file."""
        return self.encoding == "encoded"

    @property
    def arrow_type(self) -> "pa.DataType":
        """Bytes of a file, or a list of pixels."""
        import pyarrow as pa

        if self.is_encoded:
            return pa.large_binary()
        # Nullable, because Parquet's reader gives the values of a list so.
        return pa.list_(pa.field("item", pa.uint8(), nullable=True), self.size)

    @property
    def bytes_per_row(self) -> int:
        """As float32; encoded, a JPEG has less than a quarter of it, and a PNG of a photo about as much."""
        return max(1, self.size // 4) if self.is_encoded else 4 * self.size

    def parsed(self, name: str, found: "pl.DataType") -> "pl.Expr":  # noqa: ARG002 - sources decode
        """Pixels, or files, as a source has decoded or checked them."""
        import polars as pl

        return pl.col(name)

    def rules(self, name: str, found: "Mapping[str, pl.DataType]") -> list[Rule]:  # noqa: ARG002
        """It must be there, with no pixel above the maximum."""
        import polars as pl

        missing = Rule(name, "missing", "an image", raw(name).is_null())
        if self.is_encoded:
            return [missing]
        expected = f"pixels of at most {self.maximum}"
        return [missing, Rule(name, "out of range", expected, pl.col(name).arr.max() > self.maximum)]

    def raw_values(self, column: "pl.Expr") -> "pl.Expr":
        """Pixels, Array(Float32, size)."""
        import polars as pl

        return column.cast(pl.Array(pl.Float32, self.size))

    @property
    def made_up(self) -> None:
        """None: nothing is fitted to pixels."""
        return None

    def model_input(self, values: "pl.Series") -> "np.ndarray":
        """float32[rows, height, width, channels] of raw pixels."""
        import numpy as np

        from headrace.components.schema.decoding import pixels_of

        return pixels_of(values, self).to_numpy().reshape(-1, *self.shape).astype(np.float32)

    def simple_values(self, train: "pl.Series", test: "pl.Series") -> tuple[Any, Any]:
        """Means of blocks of pixels from 0 to 1, float64[rows, blocks]."""
        return self._blocks(train), self._blocks(test)

    def _blocks(self, images: "pl.Series") -> "np.ndarray":
        """Means of blocks; memory holds the pixels of some rows at a time."""
        import numpy as np

        step = max(1, _MOST_PIXELS // self.size)
        return np.concatenate([self._some(images[begin : begin + step]) for begin in range(0, len(images), step)])

    def _some(self, images: "pl.Series") -> "np.ndarray":
        import numpy as np

        pixels: np.ndarray = self.model_input(images)
        for axis, size in ((1, self.height), (2, self.width)):
            starts = np.unique(np.linspace(0, size, min(size, _SIDE), endpoint=False).astype(np.int64))
            widths = np.diff(np.append(starts, size)).astype(np.float32)
            shape = [1] * 4
            shape[axis] = len(starts)
            pixels = np.add.reduceat(pixels, starts, axis=axis) / widths.reshape(shape)
        return (pixels.reshape(len(pixels), -1) / self.maximum).astype(np.float64)
