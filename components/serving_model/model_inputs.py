"""From raw example rows to what a saved model takes."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from headrace.components.schema.features import Feature


def model_inputs(examples: pl.DataFrame, *, features: Mapping[str, Feature]) -> dict[str, np.ndarray]:
    """Return raw rows as a saved model's inputs, by feature name, in the order of `features`.

    An image is float32[rows, height, width, channels] with raw pixel values, a number float32[rows, 1] (NaN where it is
    missing), a category or a text text[rows, 1] as dtype object ("" where it is missing).
    """
    return {name: feature.model_input(examples[name]) for name, feature in features.items()}
