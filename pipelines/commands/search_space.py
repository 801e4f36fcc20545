"""What `headrace tune` searches: places of a pipeline's section of params.yaml, and the values to try there."""

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.errors import ParamsError
from pipelines.mistakes import explain, nearest
from pipelines.params import Pipeline

# What a trial redoes: the rest of the section decides neither the model nor the data that it is trained on.
SEARCHED_SECTIONS = ("train", "normalize", "split", "ingest.features")
SIGNIFICANT_DIGITS = 4  # of a number that is drawn, because a person will read it in params.yaml

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """One place, such as `train.seed`, with all its values (choice, grid) or its lowest and highest one."""

    place: str
    kind: str
    values: tuple[Any, ...]
    typed: str

    @property
    def is_grid(self) -> bool:
        """Whether each of its values is tried with all the others, instead of one that is drawn."""
        return self.kind == "grid"


def parse_axis(typed: str) -> Axis:
    """Return the axis that a person typed, such as "train.optimizer.learning_rate=log:0.0001:0.1".

    Raises ParamsError for what can't be read, for a range that is empty, and for a place that no trial depends on.
    """
    place, equals, space = typed.partition("=")
    kind, colon, content = space.partition(":")
    if not (place and equals and colon):
        raise _mistake(typed, "expected PLACE=KIND:VALUES, such as train.optimizer.learning_rate=log:0.0001:0.1")
    if kind not in _KINDS:
        raise _mistake(typed, f"unknown kind {kind!r}{nearest(kind, _KINDS)}")
    if not any(f"{place}.".startswith(f"{section}.") for section in SEARCHED_SECTIONS):
        raise _mistake(typed, f"a trial depends on {', '.join(SEARCHED_SECTIONS)} only, found {place}")
    return Axis(place, kind, _KINDS[kind](typed, content), typed)


def combinations(axes: Sequence[Axis], *, draws: int, seed: int) -> tuple[Values, ...]:
    """Return the values of each trial by place: `draws` times what is drawn, each with every combination of the grids.

    The same arguments give the same trials, and more draws begin with those of fewer. Equal trials are there once.
    """
    generator = random.Random(seed)  # noqa: S311 - no secret
    grids = [[(axis.place, value) for value in axis.values] for axis in axes if axis.is_grid]
    drawn = [axis for axis in axes if not axis.is_grid]
    found: dict[str, Values] = {}
    for _ in range(draws if drawn else 1):
        sample = {axis.place: _draw(axis, generator) for axis in drawn}
        for chosen in itertools.product(*grids):
            together = {**sample, **dict(chosen)}
            values = {axis.place: together[axis.place] for axis in axes}
            found.setdefault(json.dumps(values), values)
    return tuple(found.values())


def check_axes(pipeline: Pipeline, axes: Sequence[Axis], first: Values) -> None:
    """Raise ParamsError for a place that is not there, and for a value or bound that is not allowed there.

    Each is tried with what else the first trial has.
    """
    from pipelines.stages.train import WITHOUT_EFFECT

    places = [axis.place for axis in axes]
    for axis in axes:
        if axis.place.split(".")[:2] in [["train", name] for name in WITHOUT_EFFECT]:
            raise _mistake(axis.typed, f"{axis.place} changes no model: nothing to compare")
        if places.count(axis.place) > 1:
            raise _mistake(axis.typed, f"{axis.place} is searched twice")
        for value in axis.values:
            try:
                with_values(pipeline, {**first, axis.place: value})
            except ParamsError as error:
                raise _mistake(axis.typed, str(error)) from error


def with_values(pipeline: Pipeline, values: Values) -> Pipeline:
    """Return the pipeline as if params.yaml had these values; raise ParamsError where they are not allowed."""
    section = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)  # what stands in the file
    for place, value in values.items():
        put(section, place, value)
    try:
        return Pipeline.model_validate(section)
    except ValidationError as error:
        lines = explain(Path("params.yaml"), pipeline.name, error, model=Pipeline)
        raise ParamsError("; ".join(line.partition(": ")[2] for line in lines)) from error


def put(section: Any, place: str, value: Any) -> None:
    """Set the value at a dotted place of nested dicts and lists, with the dicts that lead to it where they lack.

    Raises ParamsError where the place can't be reached, or holds more than one value.
    """
    *path, last = place.split(".")
    node, seen = section, ""
    for part in path:
        node, seen = _below(node, part, seen), f"{seen}{part}."
    _below(node, last, seen, missing=value, is_last=True)
    node[int(last) if isinstance(node, list) else last] = value


def values_text(values: Values) -> str:
    """Return places and values as a person reads them in one line."""
    return ", ".join(f"{place}={value}" for place, value in values.items())


def _below(node: Any, part: str, seen: str, *, missing: Any = None, is_last: bool = False) -> Any:
    where = seen.rstrip(".")
    if isinstance(node, list):
        if not part.isdecimal() or int(part) >= len(node):
            raise ParamsError(f"{where} has {len(node)} items, counted from 0; there is no {part!r}")
        found = node[int(part)]
    elif isinstance(node, dict):
        found = node.setdefault(part, missing if is_last else {})
        if found is None and not is_last:
            found = node[part] = {}
    else:
        raise ParamsError(f"{where} is a value, {node!r}: there is no {part!r} in it")
    if is_last and isinstance(found, dict | list):
        names = list(found) if isinstance(found, dict) else range(len(found))
        raise ParamsError(f"{seen}{part} is not one value; search one in it: {', '.join(map(str, names))}")
    return found


def _draw(axis: Axis, generator: random.Random) -> Any:
    if axis.kind == "choice":
        return generator.choice(axis.values)
    low, high = axis.values
    if axis.kind == "integer":
        return generator.randint(low, high)
    if axis.kind == "log":
        value = math.exp(generator.uniform(math.log(low), math.log(high)))
    else:
        value = generator.uniform(low, high)
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), low), high)


def _items(typed: str, content: str) -> tuple[Any, ...]:
    items = [_value(item) for item in content.split(",")]
    if any(isinstance(item, dict | list) for item in items) or "" in content.split(","):
        raise _mistake(typed, "expected values with commas between them, such as choice:16,32,64")
    return tuple(items)


def _value(text: str) -> Any:
    """A value as YAML reads it; 1e-4 is a number too."""
    try:
        value = yaml.safe_load(text)
        return float(text) if value == text else value
    except (ValueError, yaml.YAMLError):
        return text


def _range(number: Callable[[str], float]) -> Callable[[str, str], tuple[Any, ...]]:
    def bounds(typed: str, content: str) -> tuple[Any, ...]:
        try:
            low, high = map(number, content.split(":"))
        except ValueError as error:
            raise _mistake(typed, f"expected LOWEST:HIGHEST, two of {number.__name__}, found {content!r}") from error
        if not -math.inf < low < high < math.inf:
            raise _mistake(typed, f"expected a lowest value that is below the highest, found {content!r}")
        return low, high

    return bounds


def _log_bounds(typed: str, content: str) -> tuple[Any, ...]:
    bounds = _range(float)(typed, content)
    if bounds[0] <= 0:
        raise _mistake(typed, "expected a lowest value above 0 for log")
    return bounds


def _mistake(typed: str, reason: str) -> ParamsError:
    return ParamsError(f"--search {typed}: {reason}")


_KINDS: dict[str, Callable[[str, str], tuple[Any, ...]]] = {
    "log": _log_bounds,
    "uniform": _range(float),
    "integer": _range(int),
    "choice": _items,
    "grid": _items,
}
