"""The names of a training's figures, without loading Keras, so that params.yaml can be checked in no time."""

from typing import Literal

from headrace.components.examples.settings import CategoryLabel, GeneratedLabel, Label, NextTokenLabel

LAST = "last"  # instead of a figure's name: the last epoch is the best


def figure_names(label: Label) -> tuple[str, ...]:
    """The names of the metrics of an epoch.

    They show how good a model is, except for generated images: the losses of two rival networks show nothing.
    """
    match label:
        case CategoryLabel():
            names: tuple[str, ...] = ("loss", "accuracy")
        case NextTokenLabel():
            names = ("loss", "accuracy", "perplexity")
        case GeneratedLabel():
            return ("loss", "generator_loss", "discriminator_loss")  # nothing is validated on
        case _:
            names = ("loss", "root_mean_squared_error", "mean_absolute_error")
    return (*names, *(f"validation_{name}" for name in names))


def better(figure: str) -> Literal["higher", "lower"]:
    """Return whether a higher or a lower value of a figure is better."""
    return "higher" if figure.removeprefix("validation_") == "accuracy" else "lower"
