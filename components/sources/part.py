"""What every source gives: rows as they were read, before anything is checked or typed."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from components.errors import ParamsError
from components.examples.settings import Feature, ImageFeature
from components.sources.settings import GivenSplit


@dataclass(frozen=True)
class RawPart:
    """Raw columns, the name of the file that each came from, and the split that the source gives all the rows."""

    table: pl.DataFrame
    files: Mapping[str, str]
    given_split: GivenSplit | None = None


def only_image(features: Mapping[str, Feature], *, kind: str) -> tuple[str, ImageFeature]:
    """Return name and settings of the one image that a picture source fills; raise ParamsError for other features."""
    match list(features.items()):
        case [(name, ImageFeature() as feature)]:
            return name, feature
    found = ", ".join(f"{name} ({feature.type})" for name, feature in features.items())
    raise ParamsError(f"ingest.features: a source of kind {kind!r} gives exactly one image, found {found}")
