"""Image files as example rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageOps, UnidentifiedImageError

from components.errors import DataError
from components.examples.settings import ImageFeature

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


def read_images(files: Sequence[Path], *, name: str, feature: ImageFeature, warn: Callable[[str], None]) -> pl.Series:
    """Return Array(UInt8, height * width * channels), one image file a row, in the feature's shape and range.

    Colour becomes grey, or grey colour, as the feature asks; another size is resized, which `warn` is told. Raises
    DataError, naming the file, for one that is not an 8-bit image that can be read.
    """
    images = [_read(file) for file in files]
    size = (feature.width, feature.height)
    if resized := [file.name for file, image in zip(files, images, strict=True) if image.size != size]:
        warn(
            f"{len(resized)} of {len(files)} images resized to {size[0]} x {size[1]} pixels, for example {resized[0]!r}"
        )
    rows = np.stack([_pixels(image, feature) for image in images])
    return pl.Series(name, rows, dtype=pl.Array(pl.UInt8, feature.size))


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            if image.mode not in _EIGHT_BITS:
                raise DataError(f"{file} has pixels of kind {image.mode}; expected 8 bits per channel")
            return ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"can't read {file} as an image: {error}") from error


def _pixels(image: Image.Image, feature: ImageFeature) -> np.ndarray:
    """uint8[height * width * channels], from 0 to the feature's maximum."""
    converted = image.convert(_MODES[feature.channels])
    size = (feature.width, feature.height)
    shaped = converted if converted.size == size else converted.resize(size, Image.Resampling.LANCZOS)
    scaled: np.ndarray = np.rint(np.asarray(shaped, np.float32) * (feature.maximum / 255)).astype(np.uint8)
    return scaled.reshape(-1)
