"""What the last layer of a model gives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Output:
    """`units` values for an example or, `per_token`, after each token of a text; logits where there is a softmax later.

    A GAN gives images: of it, `units` is the number of classes that both networks are conditioned on, 0 without any.
    """

    units: int
    per_token: bool = False
