"""Which transforms a column goes through."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings import Settings


class Standardize(Settings):
    """(x - mean) / standard deviation; a constant column becomes 0."""

    kind: Literal["standardize"] = "standardize"


class MinMax(Settings):
    """(x - minimum) / (maximum - minimum), by the training rows' extremes; a constant column becomes 0."""

    kind: Literal["min_max"] = "min_max"


class ScalePixels(Settings):
    """pixel / the feature's `maximum`, so that pixels run from 0 to 1; nothing is fitted."""

    kind: Literal["scale_pixels"] = "scale_pixels"


class OneHot(Settings):
    """One column per category seen in training, in sorted order, after a first one for any other category."""

    kind: Literal["one_hot"] = "one_hot"


class Ordinal(Settings):
    """The category's rank among those seen in training (1, 2, ...); 0 for any other category."""

    kind: Literal["ordinal"] = "ordinal"


class Impute(Settings):
    """Fills missing values; with `indicator`, adds a column that is 1 where the value was missing."""

    kind: Literal["impute"] = "impute"
    strategy: Literal["median", "most_frequent"]
    indicator: bool = False


Transform = Annotated[Standardize | MinMax | ScalePixels | OneHot | Ordinal | Impute, Field(discriminator="kind")]
LabelTransform = Annotated[Standardize | MinMax, Field(discriminator="kind")]
