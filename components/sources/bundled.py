"""Data sets that come with scikit-learn: real data without a download."""

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.settings import ImageFeature


def read_digits(*, image: str, label: str, feature: ImageFeature) -> pl.DataFrame:
    """Return 1797 handwritten digits: `image` as Array(UInt8, 64), pixels 0..16, and `label` as UInt8 0..9.

    Raises DataError if the feature is not 8 x 8 x 1.
    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", 1998.
    """
    if feature.shape != (8, 8, 1):
        raise DataError(f"feature {image!r} is declared as {feature.shape}, but the digits are (8, 8, 1)")
    from sklearn.datasets import load_digits  # takes a second, and only this source needs it

    pixels, digits = load_digits(return_X_y=True)
    images = pl.Series(image, pixels.astype(np.uint8), dtype=pl.Array(pl.UInt8, feature.size))
    return pl.DataFrame([images, pl.Series(label, digits.astype(np.uint8))])
