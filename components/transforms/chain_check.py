"""Which transforms may follow which; asked before any data is read."""

from collections.abc import Mapping, Sequence

from headrace.components.errors import ParamsError
from headrace.components.examples.settings import CategoryFeature, Feature, ImageFeature, NumberFeature, TextFeature
from headrace.components.transforms.settings import (
    Backbone,
    Impute,
    MinMax,
    OneHot,
    Ordinal,
    Polynomial,
    ScalePixels,
    Standardize,
    Transform,
    Vocabulary,
)

# What a transform takes and gives. "pixels", "columns", "terms", "tokens" and "features" are ends: nothing takes them.
_STEPS: dict[tuple[str, type[Transform]], str] = {
    ("image", ScalePixels): "pixels",
    ("image", Backbone): "features",
    ("number", Standardize): "number",
    ("number", MinMax): "number",
    ("number", Polynomial): "terms",
    ("category", Ordinal): "number",
    ("category", OneHot): "columns",
    ("text", Vocabulary): "tokens",
}

_RESERVED = ("example_id", "label", "given_split", "assigned_split")


def check(features: Mapping[str, Feature], transforms: Mapping[str, Sequence[Transform]]) -> None:
    """Raise ParamsError, naming place and fix, if a feature's transforms don't fit its type or each other."""
    for name, steps in transforms.items():
        place = f"normalize.transforms.{name}"
        if "/" in name:
            raise ParamsError(f"{place}: a feature's name can't contain '/', which Keras refuses; rename the column")
        if name in _RESERVED:
            raise ParamsError(f"{place}: Headrace's own tables have a column of that name; rename yours")
        _check_impute(features[name], steps, place=place)
        _check_steps(features[name], steps, place=place)


def _check_impute(feature: Feature, steps: Sequence[Transform], *, place: str) -> None:
    if any(isinstance(step, Impute) for step in steps[1:]):
        raise ParamsError(f"{place}: impute must be the first transform, and the only one of its kind")
    impute = steps[0] if steps and isinstance(steps[0], Impute) else None
    if isinstance(feature, NumberFeature) and feature.nullable and impute is None:
        raise ParamsError(f"{place}: the feature is nullable, so its first transform must be impute")
    if isinstance(feature, ImageFeature | TextFeature) and impute is not None:
        raise ParamsError(f"{place}: impute fills numbers and categories, not {feature.type}s")
    if isinstance(feature, CategoryFeature) and impute is not None and impute.strategy == "median":
        raise ParamsError(f"{place}: a category has no median; use impute with strategy: most_frequent")


def _check_steps(feature: Feature, steps: Sequence[Transform], *, place: str) -> None:
    present: str = feature.type
    for before, step in zip((None, *steps), steps, strict=False):
        if isinstance(step, Impute):
            continue
        if (present, type(step)) not in _STEPS:
            raise ParamsError(f"{place}: {step.kind} can't be applied to {_described(present)}; {_allowed(present)}")
        present = _STEPS[present, type(step)]
        if isinstance(step, Polynomial) and not isinstance(before, MinMax):
            raise ParamsError(f"{place}: polynomial takes values from 0 to 1; put min_max before it")
        if isinstance(step, Backbone) and isinstance(feature, ImageFeature):
            _check_backbone(feature, step, place=place)
    if present == "category":
        raise ParamsError(f"{place}: a category must become numbers; add one_hot or ordinal")
    if present == "text":
        raise ParamsError(f"{place}: a text must become numbers; add vocabulary")


def _check_backbone(feature: ImageFeature, backbone: Backbone, *, place: str) -> None:
    if feature.channels != 3:
        raise ParamsError(f"{place}: a backbone takes images of 3 channels, found {feature.channels}; set channels: 3")
    if min(feature.height, feature.width) < (least := backbone.smallest_input):
        raise ParamsError(
            f"{place}: {backbone.name} takes images of at least {least} x {least} pixels, found {feature.height} x "
            f"{feature.width}; raise the feature's height and width"
        )


def _described(present: str) -> str:
    names = {"pixels": "scaled pixels", "columns": "one_hot's columns", "tokens": "tokens", "image": "an image"}
    names["terms"] = "a polynomial's terms"
    names["features"] = "a backbone's features"
    return names.get(present, f"a {present}")


def _allowed(present: str) -> str:
    kinds = [step.model_fields["kind"].default for taken, step in _STEPS if taken == present]
    return f"possible are: {', '.join(kinds)}" if kinds else "it must be the last transform"
