"""Points of a known function with noise: the same on every machine, whatever the versions of the libraries."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.settings import Settings
from headrace.components.sources.made_rows import MadeRowsSource
from headrace.components.sources.raw_part import GivenSplit

# Nine: libraries of mathematics differ in the last of about sixteen digits from one processor to the next.
_DIGITS = 9
_FUNCTIONS = {"sine": math.sin, "cosine": math.cos}


class NormalX(Settings):
    """Drawn from a normal distribution."""

    kind: Literal["normal"] = "normal"
    mean: float = 0.0
    """Mean of the distribution."""

    standard_deviation: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the distribution."""


class _RangeX(Settings):
    """From `minimum` to `maximum`."""

    minimum: float
    """Lower end of the range; the first point of kind `even`."""

    maximum: float
    """Upper end of the range; the last point of kind `even`, whose points have equal distances."""

    @model_validator(mode="after")
    def _minimum_is_below_maximum(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is not below maximum {self.maximum:g}")
        return self


class UniformX(_RangeX):
    """Drawn from a range, each place of it as likely as any other."""

    kind: Literal["uniform"] = "uniform"


class EvenX(_RangeX):
    """At equal distances over a range, both ends included: nothing is drawn."""

    kind: Literal["even"] = "even"


X = Annotated[NormalX | UniformX | EvenX, Field(discriminator="kind")]


class GeneratedPart(Settings):
    """Points of the function, normal noise of this standard deviation added, and the split that they are given."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of points. A larger count keeps the points that a smaller one draws."""

    x: X
    """Distribution of `x`; its `kind` decides the keys."""

    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the normal noise that is added to `y`."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class GeneratedSource(MadeRowsSource):
    """Points `x`, `y` of a function of `frequency * x`, made from a seed: nothing to fetch."""

    kind: Literal["generated"] = "generated"
    function: Literal["sine", "cosine"]
    """The function of `frequency` times `x` that gives `y`."""

    frequency: Annotated[float, Field(gt=0)] = 1.0
    """Factor of `x`."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the points: another seed gives other points."""

    parts: Annotated[tuple[GeneratedPart, ...], Field(min_length=1)]
    """Sets of points, one after the other."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for a column other than x and y."""
        if others := [name for name in schema.source_columns if name not in ("x", "y")]:
            raise ParamsError(f"ingest: a source of kind 'generated' gives the columns x and y, and not {others[0]!r}")

    def lines(self) -> Sequence[tuple[Callable[[], str], GivenSplit | None]]:
        """The points of each part."""
        return [
            (partial(generated_lines, self, place=place), part.given_split) for place, part in enumerate(self.parts)
        ]


def generated_lines(source: GeneratedSource, *, place: int) -> str:
    """The part at `place` as JSON lines with the keys x and y.

    Each number is a function of the seed, the part's place and the row's: a larger count leaves the rows before as they
    are.
    """
    from statistics import NormalDist

    part, function = source.parts[place], _FUNCTIONS[source.function]
    places = list(_places(part.x, part, _draws(part.count, seed=source.seed, stream=2 * place)))
    draws = _draws(part.count, seed=source.seed, stream=2 * place + 1)
    noise = [part.noise * NormalDist().inv_cdf(draw) for draw in draws]
    rows = [
        {"x": x, "y": round(function(source.frequency * x) + off, _DIGITS)}
        for x, off in zip(places, noise, strict=True)
    ]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _places(x: X, part: GeneratedPart, draws: list[float]) -> Iterator[float]:
    from statistics import NormalDist

    match x:
        case NormalX():
            normal = NormalDist(x.mean, x.standard_deviation)
            yield from (round(normal.inv_cdf(draw), _DIGITS) for draw in draws)
        case UniformX():
            yield from (round(x.minimum + (x.maximum - x.minimum) * draw, _DIGITS) for draw in draws)
        case EvenX():
            gaps = max(part.count - 1, 1)
            yield from (round(x.minimum + (x.maximum - x.minimum) * row / gaps, _DIGITS) for row in range(part.count))


def _draws(count: int, *, seed: int, stream: int) -> list[float]:
    """Uniform numbers between 0 and 1, neither of which is one of them."""
    import numpy as np

    from headrace.components.mixing import mix

    stream_seed = int(mix(np.array([stream], dtype=np.uint64), seed)[0] >> np.uint64(1))
    words = mix(np.arange(count, dtype=np.uint64), stream_seed) >> np.uint64(11)
    draws: list[float] = ((words.astype(np.float64) + 0.5) * 2.0**-53).tolist()
    return draws
