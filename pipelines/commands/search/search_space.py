"""What `headrace tune` searches: places of a pipeline's section of params.yaml, and the values to compare there."""

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.components.errors import ParamsError
from headrace.components.nearest_name import nearest
from headrace.pipelines.params import Pipeline
from headrace.pipelines.project.edit_params import with_values
from headrace.pipelines.yaml_dialect import read_yaml

# What a trial redoes: the rest of the section decides neither the model nor the data that it is trained on.
SEARCHED_SECTIONS = ("train", "normalize", "split", "ingest.features")
SIGNIFICANT_DIGITS = 4  # of a number that is drawn, because a user will read it in params.yaml

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
        """Whether each of its values is combined with all the others, instead of one that is drawn."""
        return self.kind == "grid"


def parse_axis(typed: str) -> Axis:
    """Parse an axis from the command line, such as "train.optimizer.learning_rate=log:0.0001:0.1".

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
    """Values of each trial by place: `draws` random draws, each with every combination of the grids.

    The same arguments give the same trials, and more draws start with those of fewer. Equal trials are there once.
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
    from headrace.pipelines.remote_training.provenance import IGNORED_BY_TRIALS

    places = [axis.place for axis in axes]
    for axis in axes:
        if axis.place.split(".")[:2] in [["train", name] for name in IGNORED_BY_TRIALS]:
            raise _mistake(axis.typed, f"{axis.place} changes no model: nothing to compare")
        if places.count(axis.place) > 1:
            raise _mistake(axis.typed, f"{axis.place} is searched twice")
        for value in axis.values:
            try:
                with_values(pipeline, {**first, axis.place: value})
            except ParamsError as error:
                raise _mistake(axis.typed, str(error)) from error


def values_text(values: Values) -> str:
    """Places and values as one line of text."""
    return ", ".join(f"{place}={value}" for place, value in values.items())


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
    items = [read_yaml(item, name="--search") for item in content.split(",")]
    if any(isinstance(item, dict | list) for item in items) or "" in content.split(","):
        raise _mistake(typed, "expected values with commas between them, such as choice:16,32,64")
    return tuple(items)


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
