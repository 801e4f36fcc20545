"""What a model that was made again is compared to: equal, close, different since a stage, or not known."""

import pytest

from headrace.pipelines.lineage.comparison import Compared, Comparison


def part(stage: str, what: str, verdict: str, found: str = "x") -> Compared:
    return Compared(stage=stage, what=what, verdict=verdict, found=found)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["equal", "equal"], "equal"),
        (["equal", "unknown"], "equal"),  # what can't be known decides nothing
        (["equal", "close"], "close"),
        (["differs", "close"], "differs"),
    ],
)
def test_the_worst_part_decides(verdicts, expected):
    comparison = Comparison(parts=tuple(part("train", "weights", one) for one in verdicts))
    assert comparison.verdict == expected


def test_it_says_since_which_stage():
    parts = (
        part("ingest", "examples", "equal"),
        part("train", "weights", "differs", "largest difference 0.11"),
        part("evaluate", "metrics", "differs", "loss 0.4 to 0.5"),
    )
    assert str(Comparison(parts=parts)) == (
        "differs since train: weights: largest difference 0.11; metrics: loss 0.4 to 0.5"
    )


def test_it_says_how_close():
    parts = (part("ingest", "examples", "equal"), part("train", "weights", "close", "largest difference 3e-08"))
    assert str(Comparison(parts=parts)) == "equal to 1e-06: weights largest difference 3e-08"
