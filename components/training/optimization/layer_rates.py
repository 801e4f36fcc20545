"""Learning rates of single layers, as factors of the optimizer's own."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras

from headrace.components.compatibility.keras_internals import (
    APPLY_WEIGHT_DECAY,
    inner_layers,
    own_trainable_variables,
    place_of_variable,
)
from headrace.components.errors import ParamsError
from headrace.components.nearest_name import nearest
from headrace.components.training.settings import LayerRate
from headrace.components.training.workers.attribute_override import overridden


def set_layer_rates(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, rates: Sequence[LayerRate], *, place: str
) -> None:
    """Multiply the learning rate of the layers that match a pattern by its factor, and their weight decay with it.

    The first pattern that matches a layer, or one that it is in, counts for all of its weights; a name is also known
    with those of the layers around it, as in `encoder/dense`. Clipping comes before. Raises ParamsError for a pattern
    that matches no layer.
    """
    if not rates:
        return
    factors = require_layers(model, rates, place=place)
    optimizer.build(model.trainable_variables)
    by_place = [factors.get(id(variable), 1.0) for variable in model.trainable_variables]
    plain_update: Callable[..., None] = optimizer.update_step
    plain_decay: Callable[[Sequence[Any]], None] = getattr(optimizer, APPLY_WEIGHT_DECAY)

    def factor_of(variable: Any) -> float:
        return by_place[place_of_variable(optimizer, variable)]

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = factor_of(variable)
        plain_update(gradient, variable, learning_rate if factor == 1 else learning_rate * factor)

    def apply_weight_decay(variables: Sequence[Any]) -> None:
        if optimizer.weight_decay is None:
            return
        for factor in dict.fromkeys(by_place):
            with overridden((optimizer, "weight_decay", optimizer.weight_decay * factor)):
                plain_decay([one for one in variables if factor_of(one) == factor])

    # On this object alone: what Keras, or a subclass of ours, makes of a rate is the same for all optimizers.
    optimizer.update_step = update_step
    setattr(optimizer, APPLY_WEIGHT_DECAY, apply_weight_decay)


def require_layers(model: keras.Model, rates: Sequence[LayerRate], *, place: str) -> dict[int, float]:
    """Factors by the `id` of each variable; raises ParamsError for a pattern that matches no layer.

    Layers that are frozen have names, too: a rate has no effect on them, until they are trained.
    """
    factors, used, names = _factors(model, rates)
    for number, rate in enumerate(rates):
        if rate.layers not in used:
            alone = [name.rpartition("/")[2] for name in names]
            outer = [name for name in names if "/" not in name]
            raise ParamsError(
                f"{place}.{number}.layers: no layer {rate.layers!r}"
                f"{nearest(rate.layers, [*names, *alone], shown=outer)}"
            )
    return factors


def _factors(model: keras.Model, rates: Sequence[LayerRate]) -> tuple[dict[int, float], set[str], list[str]]:
    """Factors by the `id` of each variable, the patterns that matched, and all names."""
    factors: dict[int, float] = {}
    used: set[str] = set()
    names: list[str] = []

    def visit(layer: keras.layers.Layer, path: str, around: LayerRate | None) -> None:
        for inner in inner_layers(layer):
            inner_path = f"{path}{inner.name}"
            names.append(inner_path)
            matching = [
                rate for rate in rates if any(fnmatchcase(one, rate.layers) for one in (inner.name, inner_path))
            ]
            used.update(rate.layers for rate in matching)
            rate = around or next(iter(matching), None)
            for variable in own_trainable_variables(inner) if rate else ():
                factors.setdefault(id(variable), rate.factor if rate else 1.0)
            visit(inner, f"{inner_path}/", rate)

    visit(model, "", None)
    return factors, used, names
