"""Texts cut into tokens, some texts at a time."""

from collections.abc import Iterator
from typing import Literal

import polars as pl

Unit = Literal["character", "word"]

_BLOCK_TOKENS = 1 << 20  # that are apart at once: each takes 16 bytes or more
_WORD = r"[^ \t\n\v\f\r]+"  # TensorFlow splits at these six, and at no other white space of Unicode


def tokens_of(texts: pl.Series, *, unit: Unit) -> pl.Series:
    """Each text's tokens, List(String): its code points, or what stands between ASCII white space."""
    return texts.str.split("") if unit == "character" else texts.str.extract_all(_WORD)


def joined(tokens: pl.Series) -> pl.Series:
    """The tokens of all texts, one after another."""
    return tokens.filter(tokens.list.len() > 0).explode()  # of an empty list, Polars would make a null


def blocks_of(texts: pl.Series, length: int) -> Iterator[pl.Series]:
    """Yield texts of about `length` tokens, some at a time; no texts are one empty block."""
    rows = max(1, _BLOCK_TOKENS // length)
    return (texts[begin : begin + rows] for begin in range(0, max(1, len(texts)), rows))
