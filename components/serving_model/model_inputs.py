"""From raw example rows to what a saved model takes."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from headrace.components.schema.decoding import pixels_of
from headrace.components.schema.features import CategoryFeature, Feature, ImageFeature, NumberFeature, TextFeature


def model_inputs(examples: pl.DataFrame, *, features: Mapping[str, Feature]) -> dict[str, np.ndarray]:
    """Return raw rows as a saved model's inputs, by feature name, in the order of `features`.

    An image is float32[rows, height, width, channels] with raw pixel values, a number float32[rows, 1] (NaN where it is
    missing), a category or a text text[rows, 1] as dtype object ("" where it is missing).
    """
    return {name: _array(examples[name], feature) for name, feature in features.items()}


def _array(values: pl.Series, feature: Feature) -> np.ndarray:
    match feature:
        case ImageFeature():
            return pixels_of(values, feature).to_numpy().reshape(-1, *feature.shape).astype(np.float32)
        case NumberFeature():
            return values.cast(pl.Float32).to_numpy().reshape(-1, 1)  # a null becomes NaN
        case CategoryFeature() | TextFeature():
            return values.fill_null("").to_numpy().astype(object).reshape(-1, 1)
