"""Examples as a reader can look at them: the worst ones, and some drawn at random."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from headrace.components.mixing import mix
from headrace.components.schema.decoding import decode_image
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.tasks.task import Mistake

_DRAW_SEED = 0x5EED
_SHOWN_NUMBERS = 6  # of a list


@dataclass(frozen=True)
class WorstExample:
    """A mistake and what the model saw: a picture (uint8[height, width(, channels)]), or a text per feature."""

    mistake: Mistake
    picture: np.ndarray | None
    values: tuple[str, ...]


@dataclass(frozen=True)
class DrawnExample:
    """An example's label as a text, "" where there is none, and what a model sees, as of a `WorstExample`."""

    label: str
    picture: np.ndarray | None
    values: tuple[str, ...]


def worst_examples(
    examples: pl.DataFrame, mistakes: Sequence[Mistake], *, features: Mapping[str, Feature]
) -> list[WorstExample]:
    """Return the mistakes, in their order, each with its row of `examples`."""
    return [
        WorstExample(mistake, *_seen(examples.row(mistake.row, named=True), features=features)) for mistake in mistakes
    ]


def drawn_examples(
    examples: pl.DataFrame, *, count: int, label: Sequence[str], features: Mapping[str, Feature]
) -> list[DrawnExample]:
    """Return `count` of the examples, or all if there are fewer: a draw that depends on their ids alone.

    `label` names the columns that say what an example is.
    """
    rows = np.argsort(mix(examples["example_id"].to_numpy(), _DRAW_SEED), kind="stable")[:count]
    return [
        DrawnExample(", ".join(_text(row[name]) for name in label), *_seen(row, features=features))
        for row in examples[rows].iter_rows(named=True)
    ]


def _seen(row: Mapping[str, Any], *, features: Mapping[str, Feature]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    images = ImageFeature.among(features)
    shown = next((picture(row[name], feature=feature) for name, feature in images.items()), None)
    return shown, tuple(_text(row[name]) for name in features if name not in images)


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
    if isinstance(value, list):
        return f"[{', '.join(f'{one:.4g}' for one in value[:_SHOWN_NUMBERS])}{', ...' * (len(value) > _SHOWN_NUMBERS)}]"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
