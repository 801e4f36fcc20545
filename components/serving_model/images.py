"""Image files as example rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.mapping import map_in_threads
from headrace.components.schema.decoding import OTHER_SIZE, ImageError, decode_image
from headrace.components.schema.feature_types.image_feature import ImageFeature

_MOST_IMAGES = 32  # that a thread decodes at a time
_MOST_VALUES = 1 << 22  # of their pixels


@dataclass(frozen=True)
class ReadImages:
    """Pixels of image files, Array(UInt8, height * width * channels), and the names of those that were stretched."""

    pixels: pl.Series
    stretched: list[str]


def read_images(files: Sequence[Path], *, name: str, feature: ImageFeature, warn: Callable[[str], None]) -> pl.Series:
    """Return Array(UInt8, height * width * channels), one image file a row, read as ingest reads them.

    Where ingest would refuse another size, it is stretched, and `warn` receives a message. Raises DataError, naming
    the file, for one that can't be read.
    """
    found = list(image_blocks(files, name=name, feature=feature, threads=1))
    warn_of_stretched([name for one in found for name in one.stretched], len(files), feature, warn=warn)
    return pl.concat([one.pixels for one in found])


def image_blocks(files: Sequence[Path], *, name: str, feature: ImageFeature, threads: int) -> Iterator[ReadImages]:
    """Yield `read_images` of some files at a time, in order, read and decoded in threads ahead of their use."""
    size = max(1, min(_MOST_IMAGES, _MOST_VALUES // feature.size))
    groups = [files[start : start + size] for start in range(0, len(files), size)]
    yield from map_in_threads(
        partial(_read_group, name=name, feature=feature), groups, threads=threads, waiting=threads
    )


def warn_of_stretched(
    stretched: Sequence[str], images: int, feature: ImageFeature, *, warn: Callable[[str], None]
) -> None:
    """Report how many of the images had another size, if any had."""
    if stretched:
        warn(
            f"{len(stretched)} of {images} images resized to {feature.width} x {feature.height} pixels, "
            f"for example {stretched[0]!r}"
        )


def _read_group(files: Sequence[Path], *, name: str, feature: ImageFeature) -> ReadImages:
    stretched: list[str] = []
    rows = np.stack([_read(file, feature, stretched) for file in files])
    pixels = pl.Series(name, rows, dtype=pl.Array(pl.UInt8, feature.size))
    return ReadImages(pixels, stretched)


def _read(file: Path, feature: ImageFeature, stretched: list[str]) -> np.ndarray:
    content = file.read_bytes()
    try:
        return decode_image(content, feature)
    except ImageError as error:
        if error.reason != OTHER_SIZE:
            raise DataError(f"can't read {file} as an image: {error}") from error
    stretched.append(file.name)
    return _read(file, feature.model_copy(update={"resize": "stretch"}), [])
