"""Points made from a seed: the same for ever, with the requested spread and noise."""

import hashlib
import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

from headrace.components.sources.generated import GeneratedSource, generated_lines

DIGEST = "03c5a06aa346e20464cc61621c36164f0e45df041c67e9914a28c5c3404bd525"
NORMAL, UNIFORM, EVEN = {"kind": "normal"}, {"kind": "uniform", "minimum": -1, "maximum": 3}, {"kind": "even"}
EVEN |= {"minimum": -3, "maximum": 3}


def source(*parts: dict, **settings) -> GeneratedSource:
    return GeneratedSource.model_validate({"function": "sine", "seed": 1, "parts": parts, **settings})


def points(made: GeneratedSource, place: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = [json.loads(line) for line in generated_lines(made, place=place).splitlines()]
    return np.array([row["x"] for row in rows]), np.array([row["y"] for row in rows])


def test_the_points_of_a_seed_never_change():
    made = source(
        {"count": 1000, "x": NORMAL, "noise": 0.1}, {"count": 7, "x": UNIFORM}, function="cosine", frequency=2
    )
    text = generated_lines(made, place=0) + generated_lines(made, place=1)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST


def test_a_larger_count_leaves_the_points_before_as_they_are():
    few, many = (generated_lines(source({"count": count, "x": NORMAL, "noise": 0.1}), place=0) for count in (10, 100))
    assert many.startswith(few)


def test_parts_and_seeds_have_points_of_their_own():
    part = {"count": 100, "x": NORMAL}
    texts = {generated_lines(source(part, part, seed=seed), place=place) for seed in (1, 2) for place in (0, 1)}
    assert len(texts) == 4


def test_noise_and_spread_are_those_requested():
    x, y = points(source({"count": 20_000, "x": {**NORMAL, "mean": 2, "standard_deviation": 0.5}, "noise": 0.1}))
    assert abs(x.mean() - 2) < 0.02
    assert abs(x.std() - 0.5) < 0.02
    assert abs((y - np.sin(x)).std() - 0.1) < 0.005
    assert abs(np.corrcoef(x, y - np.sin(x))[0, 1]) < 0.03


def test_uniform_points_fill_their_range():
    x, _ = points(source({"count": 20_000, "x": UNIFORM}))
    counts, _ = np.histogram(x, bins=4, range=(-1, 3))
    assert np.all(np.abs(counts - 5000) < 300)


def test_even_points_have_equal_distances_and_both_ends():
    x, y = points(source({"count": 601, "x": EVEN}))
    np.testing.assert_allclose(x, np.linspace(-3, 3, 601), atol=1e-9)
    np.testing.assert_allclose(y, [math.sin(one) for one in x], atol=1e-9)
    assert points(source({"count": 1, "x": EVEN}))[0].tolist() == [-3]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"x": {**UNIFORM, "maximum": -1}}, "minimum -1 is not below maximum -1"),
        ({"x": {"kind": "normal", "standard_deviation": 0}}, "greater than 0"),
        ({"x": NORMAL, "noise": -1}, "greater than or equal to 0"),
    ],
)
def test_what_can_not_be_made_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        source({"count": 3, **settings})
