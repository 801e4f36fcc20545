"""The named inputs of a model, and the features that each is made of."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headrace.components.errors import ParamsError
from headrace.components.models.settings import AnyModel, Branch, InputBranch, OwnModel
from headrace.components.nearest_name import nearest
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

FEATURES = "features"  # all numbers and categories side by side


@dataclass(frozen=True)
class InputGroup:
    """Features side by side as one input, and the shape of one example of it, without the batch axis.

    Of a text, `tokens` counts the ids.
    """

    features: tuple[str, ...]
    shape: tuple[int, ...]
    tokens: int | None = None


def groups_of(model: AnyModel, fitted: FittedTable) -> dict[str, InputGroup] | None:
    """The named inputs of a model; None for layers and architectures of one input. Raises as `input_groups` does."""
    if isinstance(model, OwnModel):
        return input_groups(fitted, model.inputs)
    return None if model.inputs is None else input_groups(fitted, input_features(model.inputs, fitted.features))


def input_features(inputs: Mapping[str, Branch], features: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The features of each input of a model of layers: those of its section, the one of its name, or all others.

    Raises ParamsError for a name that is no feature's.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, branch in inputs.items():
        if isinstance(branch, InputBranch):
            found[name] = branch.features
        elif name in features:
            found[name] = (name,)
        elif name != FEATURES:
            raise ParamsError(f"train.model.inputs: no feature {name!r}{nearest(name, [*features, FEATURES])}")
    if FEATURES in inputs and FEATURES not in found:
        used = {one for names in found.values() for one in names}
        found[FEATURES] = tuple(name for name in features if name not in used)
        if not found[FEATURES]:
            raise ParamsError(f"train.model.inputs.{FEATURES}: all features are in other inputs; leave it out")
    require_each_once(found, features)
    return {name: found[name] for name in inputs}


def require_each_once(inputs: Mapping[str, tuple[str, ...]], features: Collection[str]) -> None:
    """Raise ParamsError for a feature that there is not, is in two inputs or in none."""
    used = [name for names in inputs.values() for name in names]
    for name in used:
        if name not in features:
            raise ParamsError(f"train.model.inputs: no feature {name!r}{nearest(name, features)}")
        if used.count(name) > 1:
            raise ParamsError(f"train.model.inputs: {name!r} is there twice")
    if missing := [name for name in features if name not in used]:
        raise ParamsError(
            f"train.model.inputs: {missing[0]!r} is in no input; add it, or leave it out of normalize.transforms"
        )


def input_groups(fitted: FittedTable, wanted: Mapping[str, tuple[str, ...]] | None) -> dict[str, InputGroup]:
    """The inputs by name, as `wanted` has them: each of some features.

    By default each image, text and vector is an input of its own name, and all others together are `features`. Raises
    ParamsError for a feature that there is not, is in two inputs or in none, and for an image beside others in one.
    """
    if wanted is None:
        alone = [name for name, one in fitted.features.items() if _is_alone(one) or one.feature.is_named_input]
        beside = tuple(name for name in fitted.features if name not in alone)
        wanted = {**{name: (name,) for name in alone}, **({FEATURES: beside} if beside else {})}
    require_each_once(wanted, fitted.features)
    return {
        name: InputGroup(names, _shape(name, names, fitted), fitted.features[names[0]].tokens)
        for name, names in wanted.items()
    }


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
