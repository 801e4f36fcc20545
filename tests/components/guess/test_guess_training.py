"""What a champion must reach, by what there is to predict."""

import pytest

from headrace.components.guess.findings import Guess
from headrace.components.guess.training import guess_stages


def guess(label: dict, *, most_frequent: float | None, rows: int = 1000) -> Guess:
    return Guess({"features": {"x": {"type": "number"}}, "label": label}, (), rows, most_frequent)


KIND = {"type": "category", "name": "kind", "classes": ["good", "bad", "ugly"]}


@pytest.mark.parametrize(
    ("label", "most_frequent", "thresholds", "metric"),
    [
        (KIND, 0.5, {"accuracy": {"minimum": 0.5}}, "accuracy"),
        (KIND, 0.97, {"balanced_accuracy": {"minimum": 0.333}}, "mcc"),  # always "good": accuracy 0.97, correlation 0
        ({"type": "number", "name": "y"}, None, {"r2": {"minimum": 0}}, "root_mean_squared_error"),
    ],
)
def test_the_gate_of_a_new_pipeline_follows_the_balance_of_classes(label, most_frequent, thresholds, metric):
    register = guess_stages(guess(label, most_frequent=most_frequent), given_test=False)["register"]
    assert register == {"thresholds": thresholds, "compare": {"metric": metric}}
