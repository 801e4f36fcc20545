"""Layers over the places of a sequence, such as the tokens of a text."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from headrace.components.models.layers.layer import LayerSettings, Positive, Surroundings, WeightedLayer
from headrace.components.models.layers.shape import Shape, sequence
from headrace.components.transforms.vocabulary import PADDING

if TYPE_CHECKING:
    import keras


class Embedding(WeightedLayer):
    """A vector of `units` learned numbers for each token of a text; only the first layer can be one."""

    kind: Literal["embedding"] = "embedding"
    units: Positive
    """Size of each vector."""

    def shape_after(self, shape: Shape) -> Shape:
        """A vector for each token."""
        return (*shape, self.units)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.Embedding of the text's ids."""
        import keras

        return keras.layers.Embedding(around.tokens, self.units, name=self.name)(around.ids)


class OneHotTokens(LayerSettings):
    """For each token of a text, a vector that is 1 at the token's place, else 0; only the first layer can be one."""

    kind: Literal["one_hot"] = "one_hot"

    def shape_after(self, shape: Shape) -> Shape:
        """A vector for each token, as long as the vocabulary."""
        return (*shape, None)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """Stock operations on the text's ids."""
        from keras import ops

        return ops.one_hot(ops.cast(around.ids, "int32"), around.tokens)


class PositionEmbedding(WeightedLayer):
    """Adds a vector of learned numbers for each place of a sequence, by which attention knows their order."""

    kind: Literal["position_embedding"] = "position_embedding"

    def shape_after(self, shape: Shape) -> Shape:
        """The same, of a sequence."""
        sequence(shape)
        return shape

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """Stock layers."""
        import keras
        from keras import ops

        _, length, values = tensor.shape
        # Not keras.layers.Embedding, whose sparse gradient would have each place once for every example.
        vectors = keras.layers.EinsumDense(
            "bt,tv->btv",
            (length, values),
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            name=self.name,
        )
        return tensor + vectors(ops.ones_like(tensor[:, :, 0]))


class Recurrent(WeightedLayer):
    """A recurrent layer over a sequence: simple (Elman, 1990), LSTM (Hochreiter and Schmidhuber, 1997) or GRU.

    GRU is of Cho et al., 2014. It gives its state after each place or, without `return_sequences`, after the last token
    before padding. The state begins at zero with every example: backpropagation through time ends there.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn", "lstm", "gru"]
    """Elman's simple cell (`rnn`), LSTM or GRU."""

    units: Positive
    """Size of the state."""

    return_sequences: bool = True
    """Whether the output is the state after each token, which `next_token` needs, or only that after the last token
    before padding.
    """

    bidirectional: bool = False
    """Whether a second layer goes from the last token to the first, and the output is both, `2 * units` values
    (Schuster and Paliwal, 1997).
    """

    @property
    def keeps_places(self) -> bool:
        """Unless the last state alone is given."""
        return self.return_sequences

    @property
    def looks_ahead(self) -> bool:
        """If it goes both ways."""
        return self.bidirectional

    def shape_after(self, shape: Shape) -> Shape:
        """The state, after each place or after the last."""
        length, _ = sequence(shape)
        units = self.units * (2 if self.bidirectional else 1)
        return (length, units) if self.return_sequences else (units,)

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.SimpleRNN, LSTM or GRU, with keras.layers.Bidirectional around it."""
        import keras
        from keras import ops

        kinds = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
        name = None if self.bidirectional else self.name
        layer = kinds[self.cell](self.units, return_sequences=self.return_sequences, name=name)
        if self.bidirectional:
            layer = keras.layers.Bidirectional(layer, name=self.name)
        if around.ids is None or (self.return_sequences and not self.bidirectional):
            return layer(tensor)
        # Padding follows the tokens, so only the last state, and what goes backwards, must be kept from it. Given as an
        # argument the mask goes no further: outputs with a mask can't be trained by several workers.
        return layer(tensor, mask=ops.not_equal(around.ids, float(PADDING)))


class Attention(WeightedLayer):
    """Self-attention of several heads: each place sees the others (Vaswani et al., 2017); padding is seen by none.

    A Transformer's block is two `residual`: of `layer_normalization` and `attention`, and of `layer_normalization` and
    two `dense` with `each_place`. By itself it does not know the order of places: see `position_embedding`.
    """

    kind: Literal["attention"] = "attention"
    heads: Annotated[int, Field(ge=1, le=1024)]
    """Number of heads."""

    head_units: Positive | None = None
    """Size of each head's queries, keys and values; `null` for the values of a place, divided by the heads."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the attention weights that are set to 0 in training."""

    causal: bool = False
    """Whether a place sees none that comes after it, as `next_token` needs."""

    @property
    def looks_ahead(self) -> bool:
        """Unless it is causal."""
        return not self.causal

    def shape_after(self, shape: Shape) -> Shape:
        """The same, of a sequence."""
        self._size(sequence(shape)[1])
        return shape

    def _size(self, values: int | None) -> int | None:
        """Size of a head, None if not known yet; raise ValueError where the heads do not divide the values."""
        if self.head_units or values is None:
            return self.head_units
        if values % self.heads:
            raise ValueError(f"{values} values can't be dealt to {self.heads} heads; give a divisor, or head_units")
        return values // self.heads

    def keras_form(self, tensor: "keras.KerasTensor", around: Surroundings) -> "keras.KerasTensor":
        """keras.layers.MultiHeadAttention."""
        import keras
        from keras import ops

        size = self._size(tensor.shape[-1])
        layer = keras.layers.MultiHeadAttention(self.heads, size, dropout=self.dropout, name=self.name)
        is_token = around.is_token
        mask = None if is_token is None else ops.expand_dims(is_token, 1)  # bool[batch, 1, length]: as keys
        return layer(tensor, tensor, attention_mask=mask, use_causal_mask=self.causal)
