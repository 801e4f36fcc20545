"""The named inputs of a model of one's own, and the features that each is made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.components.errors import ParamsError
from headrace.components.nearest_name import nearest
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

FEATURES = "features"  # all numbers and categories side by side


@dataclass(frozen=True)
class InputGroup:
    """Features side by side as one input, and the shape of one example of it, without the batch axis."""

    features: tuple[str, ...]
    shape: tuple[int, ...]


def input_groups(fitted: FittedTable, wanted: Mapping[str, tuple[str, ...]] | None) -> dict[str, InputGroup]:
    """The inputs by name, as `wanted` has them: each of some features.

    By default each image and text is an input of its own name, and all other features together are `features`. Raises
    ParamsError for a feature that there is not, is in two inputs or in none, and for an image beside others in one.
    """
    if wanted is None:
        alone = [name for name, one in fitted.features.items() if _is_alone(one)]
        beside = tuple(name for name in fitted.features if name not in alone)
        wanted = {**{name: (name,) for name in alone}, **({FEATURES: beside} if beside else {})}
    used = [name for names in wanted.values() for name in names]
    for name in used:
        if name not in fitted.features:
            raise ParamsError(f"train.model.inputs: no feature {name!r}{nearest(name, fitted.features)}")
        if used.count(name) > 1:
            raise ParamsError(f"train.model.inputs: {name!r} is there twice")
    if missing := [name for name in fitted.features if name not in used]:
        raise ParamsError(
            f"train.model.inputs: {missing[0]!r} is in no input; add it, or leave it out of normalize.transforms"
        )
    return {name: InputGroup(names, _shape(name, names, fitted)) for name, names in wanted.items()}


def _is_alone(fitted: FittedFeature) -> bool:
    return len(fitted.shape) != 1 or fitted.tokens is not None


def _shape(name: str, features: tuple[str, ...], fitted: FittedTable) -> tuple[int, ...]:
    parts = [fitted.features[one] for one in features]
    if len(parts) == 1:
        return parts[0].shape
    if alone := [one for one, part in zip(features, parts, strict=True) if _is_alone(part)]:
        raise ParamsError(
            f"train.model.inputs.{name}: {alone[0]!r} can't be beside others; make it an input of its own"
        )
    return (sum(part.width for part in parts),)
