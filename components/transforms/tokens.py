"""Texts as numbers: cut into tokens, and each token looked up in a vocabulary.

`keras.layers.TextVectorization` does the same in a saved model; what it can't hold, no vocabulary has.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.examples.summary import CategorySummary, summarize_categories
from headrace.components.schema.features import TextFeature
from headrace.components.transforms.vocabulary import FIRST, PADDING, UNKNOWN

Unit = Literal["character", "word"]

UNKNOWN_TOKEN = "[UNK]"  # noqa: S105 - Keras's own name for it
_BLOCK_TOKENS = 1 << 20  # that are apart at once: each takes 16 bytes or more
_WORD = r"[^ \t\n\v\f\r]+"  # TensorFlow splits at these six, and at no other white space of Unicode


def tokens_of(texts: pl.Series, *, unit: Unit) -> pl.Series:
    """Each text's tokens, List(String): its code points, or what stands between ASCII white space."""
    return texts.str.split("") if unit == "character" else texts.str.extract_all(_WORD)


def can_be_known(token: str) -> bool:
    """Whether a vocabulary can have a token: not Keras's mark of unknown ones, and nothing that NumPy cuts."""
    return token != UNKNOWN_TOKEN and "\0" not in token


def summarize_tokens(texts: pl.Series, feature: TextFeature, *, limit: int) -> CategorySummary:
    """Counts of the tokens of all texts, as if each token were a row."""
    tokens = (_joined(tokens_of(block, unit=feature.unit)) for block in _blocks_of(texts, feature.length))
    return reduce(CategorySummary.merge, (summarize_categories(one, limit=limit) for one in tokens))


def token_ids(texts: pl.Series, vocabulary: Sequence[str], *, unit: Unit, length: int) -> NDArray[np.float32]:
    """float32[texts, length], the ids of each text's first tokens: 0 after its end, 1 for an unknown one.

    A token of the vocabulary has its place there, and 2 more.
    """
    known = pl.Enum(vocabulary)
    return np.concatenate([_block_ids(block, known, unit=unit, length=length) for block in _blocks_of(texts, length)])


def _block_ids(texts: pl.Series, known: pl.Enum, *, unit: Unit, length: int) -> NDArray[np.float32]:
    tokens = tokens_of(texts, unit=unit).list.head(length)
    counts = tokens.list.len().to_numpy()
    places = _joined(tokens).cast(known, strict=False).to_physical().cast(pl.Float32)
    ids = np.full((len(texts), length), PADDING, np.float32)
    ids[np.arange(length) < counts[:, np.newaxis]] = (places + FIRST).fill_null(UNKNOWN).to_numpy()
    return ids


def _joined(tokens: pl.Series) -> pl.Series:
    """The tokens of all texts, one after another."""
    return tokens.filter(tokens.list.len() > 0).explode()  # of an empty list, Polars would make a null


def _blocks_of(texts: pl.Series, length: int) -> Iterator[pl.Series]:
    """Yield texts of about `length` tokens, some at a time; no texts are one empty block."""
    rows = max(1, _BLOCK_TOKENS // length)
    return (texts[begin : begin + rows] for begin in range(0, max(1, len(texts)), rows))
