"""Image files as example rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.schema.decoding import OTHER_SIZE, ImageError, decode_image
from headrace.components.schema.feature_types.image_feature import ImageFeature


def read_images(files: Sequence[Path], *, name: str, feature: ImageFeature, warn: Callable[[str], None]) -> pl.Series:
    """Return Array(UInt8, height * width * channels), one image file a row, read as ingest reads them.

    Where ingest would refuse another size, it is stretched, and `warn` receives a message. Raises DataError, naming
    the file, for one that can't be read.
    """
    stretched: list[str] = []
    rows = np.stack([_read(file, feature, stretched) for file in files])
    if stretched:
        warn(
            f"{len(stretched)} of {len(files)} images resized to {feature.width} x {feature.height} pixels, "
            f"for example {stretched[0]!r}"
        )
    return pl.Series(name, rows, dtype=pl.Array(pl.UInt8, feature.size))


def _read(file: Path, feature: ImageFeature, stretched: list[str]) -> np.ndarray:
    content = file.read_bytes()
    try:
        return decode_image(content, feature)
    except ImageError as error:
        if error.reason != OTHER_SIZE:
            raise DataError(f"can't read {file} as an image: {error}") from error
    stretched.append(file.name)
    return _read(file, feature.model_copy(update={"resize": "stretch"}), [])
