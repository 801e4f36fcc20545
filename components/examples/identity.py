"""Which example is which: 64-bit ids from content.

All of it is written out here, or a standard's: an id must be the same in ten years, on every machine and with every
version of Polars, or examples would move between training and test.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.mixing import GOLDEN, Words, mix, scramble

_MISSING = np.uint64(0x5851F42D4C957F2D)
_BLOCK_ROWS = 1 << 15  # 256 KiB of ids: all passes over a block stay in the processor's cache
_BLOCK_BYTES = 1 << 22
_LENGTH, _LENGTH_BITS = np.uint64((1 << 32) - 1), np.uint64(32)
_KEPT_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)


def ids_digest(ids: pl.Series) -> str:
    """SHA-256 of raw ids in order: it names the rows, whatever transforms or shards they are in."""
    return hashlib.sha256(ids.sort().to_numpy().astype("<u8").tobytes()).hexdigest()


def example_ids(table: pl.DataFrame, *, columns: Sequence[str]) -> Words:
    """Return uint64[n], one id per row, from the content of `columns`, whose types `_absorb_column` has.

    Equal content gives equal ids whatever the order of rows and columns. -0.0 counts as 0.0; null equals null only.
    """
    ids = np.full(table.height, GOLDEN, dtype=np.uint64)
    for start in range(0, table.height, _BLOCK_ROWS):
        block, block_ids = table.slice(start, _BLOCK_ROWS), ids[start : start + _BLOCK_ROWS]
        for name in sorted(columns):
            _absorb_column(block_ids, block[name])
    return ids


def _absorb_column(ids: Words, column: pl.Series) -> None:
    """Change the ids in place by a column's content."""
    match column.dtype:
        case pl.Float64:
            _absorb(ids, _number_words(column))
        case pl.String:
            texts = column.cast(pl.Binary).fill_null(b"")
            _absorb(ids, texts.bin.size().cast(pl.UInt64).to_numpy())
            _absorb(ids, _text_words(texts))
        case pl.Binary:
            _absorb(ids, _file_words(column))
        case pl.Array(inner=pl.UInt8):
            _absorb(ids, _image_words(column))
        case pl.Array(inner=pl.Float32):
            _absorb(ids, _vector_words(column))
        case other:
            expected = "Float64, String, Binary, Array(UInt8) or Array(Float32)"
            raise TypeError(f"column {column.name!r}: expected {expected}, found {other}")
    if column.null_count():
        missing = column.is_null().to_numpy()
        ids[missing] = scramble(ids[missing] ^ _MISSING)


def _absorb(ids: Words, words: Words) -> None:
    ids ^= words
    ids += np.uint64(GOLDEN)  # zero is a fixed point of the finalizer
    scramble(ids)


def _number_words(column: pl.Series) -> Words:
    filled = column.fill_null(0.0) if column.null_count() else column
    values = filled.to_numpy() + 0.0  # turns -0.0 into 0.0
    words: Words = values.astype("<f8", copy=False).view("<u8")
    return words


def _text_words(texts: pl.Series) -> Words:
    """One word per text: the sum of its 8-byte words, each scrambled with its position."""
    if (short := _short_text_words(texts)) is not None:
        return short
    lengths = texts.bin.size().to_numpy()
    begins = np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK_BYTES, prepend=-1))  # of blocks, as the bytes are many
    blocks = [_some_text_words(texts[int(begin) : int(end)]) for begin, end in pairwise([*begins, len(texts)])]
    return np.concatenate(blocks)


def _short_text_words(column: pl.Series) -> Words | None:
    """The same, where every text has less than 8 bytes, as of most categories: faster.

    Such a text is one word, and Arrow has it in the view itself: 4 bytes of length, up to 12 of text.
    """
    texts = column.to_arrow(compat_level=pl.CompatLevel.newest())
    first, last = np.frombuffer(texts.buffers()[1], "<u8").reshape(-1, 2)[texts.offset :][: len(texts)].T
    lengths = first & _LENGTH
    if lengths.max(initial=0) >= 8:
        return None
    words: Words = (first >> _LENGTH_BITS) | (last << _LENGTH_BITS)
    words &= _KEPT_BYTES[lengths]
    return _placed(words, np.zeros(1, np.int64))


def _some_text_words(column: pl.Series) -> Words:
    texts = column.to_arrow()
    _, offset_buffer, data = texts.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[texts.offset :][: len(texts) + 1]
    lengths = np.diff(offsets)
    padded = (data.to_pybytes() if data else b"") + bytes(8)
    word_at = np.ndarray(len(padded) - 7, "<u8", padded, strides=(1,))  # the word that begins at each byte
    counts = lengths // 8 + 1  # at least one word, so that no text is without a place below
    starts = np.cumsum(counts) - counts
    positions = np.arange(counts.sum()) - np.repeat(starts, counts)
    words: Words = word_at[np.repeat(offsets[:-1], counts) + 8 * positions]
    words &= _KEPT_BYTES[np.clip(np.repeat(lengths, counts) - 8 * positions, 0, 8)]
    return np.add.reduceat(_placed(words, positions), starts, dtype=np.uint64)


def _file_words(files: pl.Series) -> Words:
    """One word per file: BLAKE2b (RFC 7693), which takes a tenth of the time that the words of a text would."""
    views = files.to_arrow(compat_level=pl.CompatLevel.newest())  # nothing is copied, as it is where a Series is listed
    digests = (hashlib.blake2b(one.as_buffer() if one.is_valid else b"", digest_size=8).digest() for one in views)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _image_words(column: pl.Series) -> Words:
    """One word per image: the sum of its 8-byte words, each scrambled with its position."""
    pixels = column.to_numpy()
    rows_per_block = max(1, (1 << 20) // pixels.shape[1])
    digests = np.empty(len(pixels), dtype=np.uint64)
    for start in range(0, len(pixels), rows_per_block):
        block = pixels[start : start + rows_per_block]
        padded = np.pad(block, ((0, 0), (0, -block.shape[1] % 8)))
        words = padded.view("<u8")
        digests[start : start + rows_per_block] = _placed(words, np.arange(words.shape[1])).sum(axis=1, dtype=np.uint64)
    return digests


def _vector_words(column: pl.Series) -> Words:
    """One word per list of numbers: the sum of its numbers as float64, each scrambled with its position."""
    size = int(column.dtype.size)  # type: ignore[attr-defined]  # of an Array
    rows_per_block = max(1, (1 << 18) // size)
    digests = np.zeros(len(column), dtype=np.uint64)
    for start in range(0, len(column), rows_per_block):
        block = column[start : start + rows_per_block].to_numpy()
        values = np.nan_to_num(block.astype("<f8")) + 0.0  # turns -0.0 into 0.0, as those of a list that is not there
        digests[start : start + len(block)] = _placed(values.view("<u8"), np.arange(size)).sum(axis=1, dtype=np.uint64)
    return digests


def _placed(words: Words, positions: NDArray[np.int64]) -> Words:
    """Change words in place so that the same word elsewhere in a text or image counts differently, and return them."""
    words ^= mix(positions.astype(np.uint64), 0)
    return scramble(words)
