"""Points of a known function with noise: the same on every machine, whatever the versions of the libraries."""

import json
import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from headrace.components.examples.mixing import mix
from headrace.components.sources.generated_settings import EvenX, GeneratedPart, GeneratedSource, NormalX, UniformX, X

# Nine: libraries of mathematics differ in the last of about sixteen digits from one processor to the next.
_DIGITS = 9
_FUNCTIONS = {"sine": math.sin, "cosine": math.cos}


def generated_lines(source: GeneratedSource, *, place: int) -> str:
    """Return the part at `place` as JSON lines with the keys x and y.

    Each number is a function of the seed, the part's place and the row's: a larger count leaves the rows before as they
    are.
    """
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
    stream_seed = int(mix(np.array([stream], dtype=np.uint64), seed)[0] >> np.uint64(1))
    words = mix(np.arange(count, dtype=np.uint64), stream_seed) >> np.uint64(11)
    draws: list[float] = ((words.astype(np.float64) + 0.5) * 2.0**-53).tolist()
    return draws
