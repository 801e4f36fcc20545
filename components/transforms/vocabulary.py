"""Vocabulary: the tokens of a text as numbers."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.transform import FittedTransform, ModelColumn, Statistics, TableColumn, Transform

if TYPE_CHECKING:
    import polars as pl

PADDING, UNKNOWN = 0, 1  # ids of tokens that no vocabulary has
FIRST = 2  # the id of a vocabulary's first token


class FittedVocabulary(FittedTransform):
    """2, 3, ... by the place in `tokens`, the most frequent first; 1 for any other token, 0 after a text's end."""

    kind: Literal["vocabulary"] = "vocabulary"
    tokens: Annotated[tuple[str, ...], Field(min_length=1)]

    def table_form(self, column: TableColumn) -> "pl.Expr":
        """Ids of the first tokens, Array(Float32, length)."""
        text = TextFeature.require(column.feature)
        return self.ids(column.values, text, length=text.length)

    def ids(self, texts: "pl.Expr", feature: TextFeature, *, length: int) -> "pl.Expr":
        """Ids of so many first tokens, Array(Float32, length)."""
        import polars as pl

        from headrace.components.transforms.token_ids import token_ids

        dtype = pl.Array(pl.Float32, length)

        def look_up(block: pl.Series) -> pl.Series:
            ids = token_ids(block, self.tokens, unit=feature.unit, length=length)
            return pl.Series(block.name, ids, dtype=dtype)

        return texts.map_batches(look_up, return_dtype=dtype, is_elementwise=True)

    def keras_form(self, column: ModelColumn) -> ModelColumn:
        """Ids of the first tokens, float32[batch, length]."""
        import keras
        from keras import ops

        text = TextFeature.require(column.feature)
        look_up = keras.layers.TextVectorization(
            standardize=None,
            split="character" if text.unit == "character" else "whitespace",
            output_sequence_length=text.length,
            vocabulary=list(self.tokens),
        )
        return replace(column, values=ops.cast(look_up(column.values), "float32"))


class Vocabulary(Transform):
    """Tokens of a text as numbers: the `size` most frequent of training are 2, 3, ...; 1 is any other, 0 is padding."""

    kind: Literal["vocabulary"] = "vocabulary"
    size: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Largest number of known tokens."""

    takes = ("text",)
    gives = "tokens"
    fitted = FittedVocabulary

    @property
    def statistics(self) -> Statistics:
        """Tokens."""
        return "tokens"

    def fit(self, column: ColumnStatistics) -> FittedVocabulary:
        """Take the most frequent tokens that a vocabulary can have, of equally frequent ones the smaller first."""
        from headrace.components.transforms.token_ids import can_be_known

        counts = column.counts()
        known = sorted(filter(can_be_known, counts), key=lambda token: (-counts[token], token))
        return FittedVocabulary(tokens=column.known(tuple(known[: self.size]) or None))
