"""Layers over the tokens of a text."""

import keras
from keras import ops

from headrace.components.models.settings import Embedding, OneHotTokens, Recurrent
from headrace.components.transforms.vocabulary import PADDING

_CELLS = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def over_tokens(
    layer: Embedding | OneHotTokens | Recurrent, tensor: keras.KerasTensor, *, ids: keras.KerasTensor, tokens: int
) -> keras.KerasTensor:
    """Return float32[batch, length, values] or, of a recurrent layer's last state, float32[batch, units].

    `tensor` is what the layer before gives; `ids`, float32[batch, length] below `tokens`, is the model's input.
    """
    match layer:
        case Embedding():
            return keras.layers.Embedding(tokens, layer.units)(ids)
        case OneHotTokens():
            return ops.one_hot(ops.cast(ids, "int32"), tokens)
        case Recurrent():
            cell = _CELLS[layer.cell](layer.units, return_sequences=layer.return_sequences)
            if layer.return_sequences:
                return cell(tensor)
            # Padding follows the tokens, so only the last state must be kept from it. Given as an argument the mask
            # goes no further: outputs with a mask can't be trained by several workers.
            return cell(tensor, mask=ops.not_equal(ids, float(PADDING)))
