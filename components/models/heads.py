"""Auxiliary heads: more outputs, in the middle of a network, that only training has."""

from typing import Any

import keras

HEAD_WEIGHT = 0.3  # of each head's loss (Szegedy et al., 2015, section 5)


class WithAuxiliaryHeads(keras.Model):  # type: ignore[misc]
    """A model, `core`, that is trained by its own loss and by that of each of its heads, at weight 0.3.

    `with_heads` gives a list, core's output first. Metrics, and the loss of an evaluation, are core's alone, under the
    names that they have without heads. Of the weights, core's come first, in core's order.
    """

    def __init__(self, core: keras.Model, with_heads: keras.Model) -> None:
        super().__init__(name="core_with_heads")
        self.core, self.with_heads = core, with_heads
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return all outputs in training, otherwise core's."""
        return self.with_heads(inputs, training=True) if training else self.core(inputs, training=False)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return core's loss, in training with the heads' weighted losses added."""
        output, *heads = _listed(y_pred)
        loss = super().compute_loss(x, y, output, sample_weight, training)
        return loss + sum(HEAD_WEIGHT * self.loss(y, head, sample_weight) for head in heads)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the metrics of core's output."""
        return super().compute_metrics(x, y, _listed(y_pred)[0], sample_weight)


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
