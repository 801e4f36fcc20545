"""Which transforms may follow which; asked before any data is read."""

from collections.abc import Mapping, Sequence

from components.errors import ParamsError
from components.examples.settings import CategoryFeature, Feature, ImageFeature, NumberFeature
from components.transforms.settings import Impute, MinMax, OneHot, Ordinal, ScalePixels, Standardize, Transform

# What a transform takes and gives. "pixels" and "columns" are ends: nothing takes them.
_STEPS: dict[tuple[str, type[Transform]], str] = {
    ("image", ScalePixels): "pixels",
    ("number", Standardize): "number",
    ("number", MinMax): "number",
    ("category", Ordinal): "number",
    ("category", OneHot): "columns",
}

_RESERVED = ("example_id", "label", "given_split", "assigned_split")


def check(features: Mapping[str, Feature], transforms: Mapping[str, Sequence[Transform]]) -> None:
    """Raise ParamsError, naming place and mend, if a feature's transforms don't fit its type or each other."""
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
    if isinstance(feature, ImageFeature) and impute is not None:
        raise ParamsError(f"{place}: impute fills numbers and categories, not images")
    if isinstance(feature, CategoryFeature) and impute is not None and impute.strategy == "median":
        raise ParamsError(f"{place}: a category has no median; use impute with strategy: most_frequent")


def _check_steps(feature: Feature, steps: Sequence[Transform], *, place: str) -> None:
    present: str = feature.type
    for step in steps:
        if isinstance(step, Impute):
            continue
        if (present, type(step)) not in _STEPS:
            raise ParamsError(f"{place}: {step.kind} can't be applied to {_described(present)}; {_allowed(present)}")
        present = _STEPS[present, type(step)]
    if present == "category":
        raise ParamsError(f"{place}: a category must become numbers; add one_hot or ordinal")


def _described(present: str) -> str:
    return {"pixels": "scaled pixels", "columns": "one_hot's columns", "image": "an image"}.get(present, f"a {present}")


def _allowed(present: str) -> str:
    kinds = [step.model_fields["kind"].default for taken, step in _STEPS if taken == present]
    return f"possible are: {', '.join(kinds)}" if kinds else "it must be the last transform"
