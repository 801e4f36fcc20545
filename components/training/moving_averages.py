"""Moving averages of the weights: what a model is evaluated and saved with, where its optimizer keeps them.

Keras evaluates the trained weights all through `fit`, and puts the averages in their place for good when `fit` ends,
after which no training could continue from where it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from headrace.components.compatibility.keras_internals import moving_averages
from headrace.components.training.workers.attribute_override import overridden


def swap(model: keras.Model) -> None:
    """Exchange trained weights and averages; nothing happens where the optimizer keeps none."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # mixed precision wraps the optimizer
    if not optimizer.use_ema:
        return
    for weight, average in moving_averages(optimizer):
        trained, averaged = weight.numpy(), average.numpy()
        weight.assign(averaged)
        average.assign(trained)


@contextmanager
def swapped(model: keras.Model) -> Iterator[None]:
    """Have the averages in the model, and the trained weights in their place, for the length of the block."""
    swap(model)
    try:
        yield
    finally:
        swap(model)


@contextmanager
def trained_weights_stay(model: keras.Model) -> Iterator[None]:
    """Keep the end of `fit` from putting the averages in the place of the trained weights."""
    with overridden((model.optimizer, "finalize_variable_values", lambda variables: None)):  # noqa: ARG005
        yield
