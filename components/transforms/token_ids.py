"""Texts as numbers: cut into tokens, and each token looked up in a vocabulary.

`keras.layers.TextVectorization` does the same in a saved model; what it can't hold, no vocabulary has.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.examples.tokens import Unit, blocks_of, joined, tokens_of
from headrace.components.transforms.vocabulary import FIRST, PADDING, UNKNOWN

UNKNOWN_TOKEN = "[UNK]"  # noqa: S105 - Keras's own name for it


def can_be_known(token: str) -> bool:
    """Whether a vocabulary can have a token: not Keras's mark of unknown ones, and nothing that NumPy cuts."""
    return token != UNKNOWN_TOKEN and "\0" not in token


def token_ids(texts: pl.Series, vocabulary: Sequence[str], *, unit: Unit, length: int) -> NDArray[np.float32]:
    """float32[texts, length], the ids of each text's first tokens: 0 after its end, 1 for an unknown one.

    A token of the vocabulary has its place there, and 2 more.
    """
    known = pl.Enum(vocabulary)
    return np.concatenate([_block_ids(block, known, unit=unit, length=length) for block in blocks_of(texts, length)])


def _block_ids(texts: pl.Series, known: pl.Enum, *, unit: Unit, length: int) -> NDArray[np.float32]:
    tokens = tokens_of(texts, unit=unit).list.head(length)
    counts = tokens.list.len().to_numpy()
    places = joined(tokens).cast(known, strict=False).to_physical().cast(pl.Float32)
    ids = np.full((len(texts), length), PADDING, np.float32)
    ids[np.arange(length) < counts[:, np.newaxis]] = (places + FIRST).fill_null(UNKNOWN).to_numpy()
    return ids
