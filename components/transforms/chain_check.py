"""Which transforms may follow which; checked before any data is read."""

from collections.abc import Mapping, Sequence

from headrace.components.errors import ParamsError
from headrace.components.schema.features import FEATURE_TYPES, Feature
from headrace.components.transforms.transform import Position, Transform
from headrace.components.transforms.variants import TRANSFORMS

_RESERVED = ("example_id", "label", "given_split", "assigned_split")
_DESCRIBED = {one.name(): one.described for one in FEATURE_TYPES}
_OF_TEXT = {one.name() for one in FEATURE_TYPES if one.input_dtype == "string"}


def check(features: Mapping[str, Feature], transforms: Mapping[str, Sequence[Transform]]) -> None:
    """Raise ParamsError, naming place and fix, if a feature's transforms don't fit its type or each other."""
    for name, steps in transforms.items():
        place = f"normalize.transforms.{name}"
        if "/" in name:
            raise ParamsError(f"{place}: a feature's name can't contain '/', which Keras refuses; rename the column")
        if name in _RESERVED:
            raise ParamsError(f"{place}: Headrace's own tables have a column of that name; rename yours")
        _check_missing(features[name], steps, place=place)
        _check_steps(features[name], steps, place=place)


def _check_missing(feature: Feature, steps: Sequence[Transform], *, place: str) -> None:
    late = next((step for step in steps[1:] if step.fills), None)
    if late is not None:
        raise ParamsError(f"{place}: {late.kind} must be the first transform, and the only one of its kind")
    if feature.must_be_filled and not (steps and steps[0].fills):
        fills = " or ".join(_kind(one) for one in TRANSFORMS if one.fills)
        raise ParamsError(f"{place}: the feature is nullable, so its first transform must be {fills}")


def _check_steps(feature: Feature, steps: Sequence[Transform], *, place: str) -> None:
    present: str = feature.type
    for before, step in zip((None, *steps), steps, strict=False):
        # What fills says itself what it can't fill.
        if present not in step.takes and not step.fills:
            described = _DESCRIBED.get(present, present)
            raise ParamsError(f"{place}: {step.kind} can't be applied to {described}; {_possible(present)}")
        if feature.is_encoded and not step.takes_encoded:
            raise ParamsError(f"{place}: {step.kind} can't be applied to encoded images; set encoding: tensor")
        step.check(Position(feature, before, place))
        present = step.gives_after(present)
    if present in _OF_TEXT:
        kinds = " or ".join(sorted(_that_take(present)))
        raise ParamsError(f"{place}: {_DESCRIBED[present]} must become numbers; add {kinds}")


def _possible(present: str) -> str:
    kinds = _that_take(present)
    return f"possible are: {', '.join(kinds)}" if kinds else "it must be the last transform"


def _that_take(present: str) -> list[str]:
    return [_kind(one) for one in TRANSFORMS if present in one.takes and not one.fills]


def _kind(transform: type[Transform]) -> str:
    return str(transform.model_fields["kind"].default)
