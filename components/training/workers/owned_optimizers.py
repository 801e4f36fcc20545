"""All optimizers of a model: a train_step of one's own may use several."""

from typing import Any

import keras

from headrace.components.compatibility.keras_internals import flat_layers


def owned_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """The optimizer that a model was compiled with, then others that it or a model within it has as attributes."""
    models = [layer for layer in flat_layers(model) if isinstance(layer, keras.Model)]
    values = [model.optimizer, *(value for one in models for value in vars(one).values())]
    found = [optimizer for value in values for optimizer in _optimizers(value)]
    return list({id(optimizer): optimizer for optimizer in found}.values())


def _optimizers(value: Any) -> list[keras.optimizers.Optimizer]:
    """An optimizer, or those of a list or dict."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if isinstance(one, keras.optimizers.Optimizer)]
