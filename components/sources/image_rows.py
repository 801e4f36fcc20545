"""Image files that are a column of a table, with the other columns of their rows."""

from collections.abc import Iterator, Sequence

import polars as pl

from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.images import NAME, ImageBlock, most_images
from headrace.components.sources.raw_part import GivenSplit


def image_rows(
    contents: Sequence[bytes | None],
    paths: Sequence[str | None] | None,
    others: pl.DataFrame,
    *,
    schema: RowSchema,
    first: int,
    file: str,
    split: GivenSplit | None,
) -> Iterator[ImageBlock]:
    """Yield rows whose image is not decoded yet, as many at a time as are decoded together.

    `paths` are names of the image files, `first` is the number of the first row in `file`, from 1. A row without an
    image is rejected as missing.
    """
    if NAME not in others.columns:
        names = [path or file for path in paths] if paths else [file] * len(contents)
        others = others.with_columns(pl.Series(NAME, names, dtype=pl.String))
    [feature] = ImageFeature.among(schema.columns).values()
    length = most_images(feature)
    for start in range(0, len(contents), length):
        end = start + length
        yield ImageBlock(
            tuple(contents[start:end]), others[start:end], first + start, file, split, absent="no bytes in its column"
        )
