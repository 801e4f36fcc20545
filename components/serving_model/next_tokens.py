"""Saved models of next tokens: what they make of texts, and how a text continues."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.examples.tokens import Unit, tokens_of
from headrace.components.mixing import mix
from headrace.components.transforms.token_ids import token_ids
from headrace.components.transforms.vocabulary import FIRST, PADDING

_SMALLEST_PROBABILITY = 1e-7  # as in Keras: a certain mistake costs 16.1 nats, not infinity
_MOST_PROBABILITIES = 1 << 24  # at once: 64 MiB
_SHOWN = 5


@dataclass(frozen=True)
class TextModel:
    """A saved model that takes the text `name` and gives probabilities float32[batch, length, tokens].

    `vocabulary` has its tokens, the first of which has the id 2.
    """

    model: Any
    name: str
    vocabulary: tuple[str, ...]
    unit: Unit
    length: int

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32[texts, length, tokens]: after each token of a text, how probable each id is."""
        rows = np.array(texts, dtype=object).reshape(-1, 1)
        return np.asarray(self.model({self.name: rows}, training=False))


@dataclass(frozen=True)
class NextTokens:
    """What a model made of some texts, all [texts, length]: ids (0 after a text's end), and losses in nats."""

    targets: NDArray[np.int32]
    predicted: NDArray[np.int32]
    losses: NDArray[np.float32]

    @property
    def is_token(self) -> NDArray[np.bool_]:
        """bool[texts, length]: where a token follows, and not padding."""
        return np.not_equal(self.targets, PADDING)


def text_model(model: Any) -> TextModel:
    """Return a loaded model as one of next tokens; raise DataError if it is another."""
    [layer] = [one for one in model.layers if type(one).__name__ == "TextVectorization"] or [None]
    if layer is None or len(model.output.shape) != 3:
        raise DataError(f"it gives {tuple(model.output.shape[1:])} numbers a row, and no next tokens of a text")
    [name] = model.input
    settings = layer.get_config()
    unit: Unit = "character" if settings["split"] == "character" else "word"
    vocabulary = tuple(map(str, layer.get_vocabulary()[FIRST:]))
    return TextModel(model, name, vocabulary, unit, settings["output_sequence_length"])


def predict_tokens(model: TextModel, texts: pl.Series) -> NextTokens:
    """Predictions of each text's tokens after the first; tokens beyond the model's length are left out.

    Memory holds the probabilities of some texts at a time.
    """
    rows = texts_at_once(model)
    parts = [_predict(model, texts[begin : begin + rows]) for begin in range(0, len(texts), rows)]
    return NextTokens(*(np.concatenate([getattr(part, name) for part in parts]) for name in NextTokens.__annotations__))


def texts_at_once(model: TextModel) -> int:
    """How many texts a model is called with at once."""
    return max(1, _MOST_PROBABILITIES // (model.length * (FIRST + len(model.vocabulary))))


def text_of(model: TextModel, ids: NDArray[np.int32]) -> str:
    """Return ids, int32[tokens], as text: � for an unknown token, nothing for padding."""
    names = ["", "\N{REPLACEMENT CHARACTER}", *model.vocabulary]
    return ("" if model.unit == "character" else " ").join(names[place] for place in ids if place != PADDING)


def generate(model: TextModel, prompt: str, *, length: int, temperature: float, seed: int) -> Iterator[str]:
    """Yield `length` tokens, one by one, with which the model continues after the prompt.

    Each is drawn by its probability to the power of 1 / temperature; at temperature 0 it is the most probable one. The
    model sees the last tokens, as many as it was trained on at a time. The same on every machine for a seed, but for
    the rounding of probabilities. Raises DataError for a prompt without a token, or with tokens that the model does not
    know.
    """
    import tensorflow as tf

    join = "" if model.unit == "character" else " "
    tokens = _known_tokens(model, prompt)
    step = tf.function(lambda texts, place: model.model({model.name: texts}, training=False)[0, place])
    draws = mix(np.arange(length, dtype=np.uint64), seed) / 2.0**64
    for draw in draws:
        seen = tokens[-model.length :]
        probabilities = step(tf.constant([[join.join(seen)]]), tf.constant(len(seen) - 1)).numpy()[FIRST:]
        tokens.append(model.vocabulary[_drawn(probabilities.astype(np.float64), draw, temperature=temperature)])
        yield tokens[-1]


def _predict(model: TextModel, texts: pl.Series) -> NextTokens:
    ids = token_ids(texts, model.vocabulary, unit=model.unit, length=model.length + 1)
    targets = ids[:, 1:].astype(np.int32)
    probabilities = model.probabilities(texts.to_list())
    given = np.take_along_axis(probabilities, targets[..., np.newaxis], axis=2)[..., 0]
    losses = -np.log(np.clip(given, _SMALLEST_PROBABILITY, 1.0))
    return NextTokens(targets, probabilities.argmax(axis=2).astype(np.int32), losses)


def _known_tokens(model: TextModel, prompt: str) -> list[str]:
    tokens: list[str] = tokens_of(pl.Series([prompt]), unit=model.unit)[0].to_list()
    unknown = list(dict.fromkeys(token for token in tokens if token not in model.vocabulary))
    if unknown:
        shown = ", ".join(map(repr, unknown[:_SHOWN])) + (" ..." if len(unknown) > _SHOWN else "")
        known = "".join(sorted(model.vocabulary)) if model.unit == "character" else f"{len(model.vocabulary)} words"
        raise DataError(f"the prompt has {model.unit}s that no training text had: {shown}; known are {known!r}")
    if not tokens:
        raise DataError(f"the prompt has no {model.unit}; give the model something to continue")
    return tokens


def _drawn(probabilities: NDArray[np.float64], draw: float, *, temperature: float) -> int:
    """The place at which the sum of the probabilities, sharpened or flattened, exceeds the draw."""
    if temperature == 0:
        return int(probabilities.argmax())
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature
    sums = np.cumsum(np.exp(logits - logits.max()))
    return int(np.searchsorted(sums, draw * sums[-1], side="right").clip(max=len(sums) - 1))
