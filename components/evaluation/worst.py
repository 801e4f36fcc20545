"""The worst examples, as a reader can look at them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from PIL import Image

from components.evaluation.outcome import Mistake
from components.examples.settings import Feature, ImageFeature
from components.sources.decoding import decode_image


@dataclass(frozen=True)
class WorstExample:
    """A mistake and what the model saw: a picture (uint8[height, width(, channels)]), or a text per feature."""

    mistake: Mistake
    picture: np.ndarray | None
    values: tuple[str, ...]


def worst_examples(
    examples: pl.DataFrame, mistakes: Sequence[Mistake], *, features: Mapping[str, Feature]
) -> list[WorstExample]:
    """Return the mistakes, in their order, each with its row of `examples`."""
    images = {name: feature for name, feature in features.items() if isinstance(feature, ImageFeature)}
    others = [name for name in features if name not in images]
    return [
        WorstExample(
            mistake,
            picture=next((picture(row[name], feature=feature) for name, feature in images.items()), None),
            values=tuple(_text(row[name]) for name in others),
        )
        for mistake in mistakes
        for row in [examples.row(mistake.row, named=True)]
    ]


def picture(pixels: Sequence[int] | np.ndarray | bytes, *, feature: ImageFeature) -> np.ndarray:
    """Return pixels (number[height * width * channels], or encoded) as uint8[height, width(, channels)], white: 255."""
    if isinstance(pixels, bytes):
        pixels = decode_image(pixels, feature)
    shape = feature.shape[:2] if feature.channels == 1 else feature.shape
    return np.rint(np.asarray(pixels, np.float32).reshape(shape) * (255 / feature.maximum)).astype(np.uint8)


def data_uri(shown: np.ndarray) -> str:
    """Return a picture as the `data:` address of a PNG, for a page that fetches nothing."""
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
