"""Models of next tokens without a network: how often a token occurs, and how often it follows another."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.components.serving_model.next_tokens import NextTokens
from headrace.components.transforms.vocabulary import PADDING

_MOST_PAIRS = 1 << 22  # of tokens that follow each other

Ids = NDArray[np.int64]


class TokenPredictions(NamedTuple):
    """Name and method of a model, and what it makes of some texts."""

    name: str
    how: str
    found: NextTokens


def predict_tokens_simply(train: Ids, test: Ids, *, tokens: int) -> Iterator[TokenPredictions]:
    """Yield what simple models of `train` make of `test`: ids int64[texts, length + 1] below `tokens`, 0 for padding.

    Each count has 1 more than it was (Laplace); a token that nothing followed goes back to single tokens. A large
    vocabulary has no pairs.
    """
    before, after = train[:, :-1], train[:, 1:]
    is_token = after != PADDING
    counts = 1.0 + np.bincount(after[is_token], minlength=tokens)
    counts[PADDING] = 0
    shares = counts / counts.sum()
    places, targets = test[:, :-1], test[:, 1:]
    every = np.zeros_like(places)
    how = "the token that is most frequent in training"
    yield TokenPredictions("the most frequent token", how, _predicted(shares[np.newaxis], every, targets))
    if tokens**2 <= _MOST_PAIRS:
        pairs = np.bincount((before * tokens + after)[is_token], minlength=tokens**2).reshape(tokens, tokens) + shares
        how = "the token that most often follows the one before it in training"
        found = _predicted(pairs / pairs.sum(axis=1, keepdims=True), places, targets)
        yield TokenPredictions("pairs of tokens", how, found)


def _predicted(shares: NDArray[np.float64], places: Ids, targets: Ids) -> NextTokens:
    """Predictions by the row of `shares`, float64[rows, tokens], that is at each place."""
    losses = -np.log(np.maximum(shares, 1e-12))
    predicted = shares.argmax(axis=1)
    return NextTokens(
        targets.astype(np.int32), predicted[places].astype(np.int32), losses[places, targets].astype(np.float32)
    )
