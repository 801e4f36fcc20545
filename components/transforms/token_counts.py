"""How often the tokens of texts occur."""

from functools import reduce

import polars as pl

from headrace.components.examples.settings import TextFeature
from headrace.components.examples.summary import CategorySummary, summarize_categories
from headrace.components.transforms.tokens import blocks_of, joined, tokens_of


def summarize_tokens(texts: pl.Series, feature: TextFeature, *, limit: int) -> CategorySummary:
    """Return how often each token occurs in all of the texts, as if each were a row."""
    tokens = (joined(tokens_of(block, unit=feature.unit)) for block in blocks_of(texts, feature.length))
    return reduce(CategorySummary.merge, (summarize_categories(one, limit=limit) for one in tokens))
