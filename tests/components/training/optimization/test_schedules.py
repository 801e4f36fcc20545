"""Learning rates over the steps of a training."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from headrace.components.training.optimization.schedules import build_learning_rate
from headrace.components.training.settings import LearningRate

ADAPTER = TypeAdapter(LearningRate)


def rates(settings, *, epochs: int = 4, updates_per_epoch: float = 5) -> np.ndarray:
    built = build_learning_rate(ADAPTER.validate_python(settings), updates_per_epoch=updates_per_epoch, epochs=epochs)
    if isinstance(built, float):
        return np.full(round(epochs * updates_per_epoch), built)
    return np.array([float(built(step)) for step in range(round(epochs * updates_per_epoch))])


def test_a_number_stays_as_it_is():
    assert build_learning_rate(0.01, updates_per_epoch=5, epochs=4) == 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "constant", "peak": 0.1, "warmup_epochs": 1},
        {"kind": "cosine", "peak": 0.1, "warmup_epochs": 1},
        {"kind": "exponential", "peak": 0.1, "decay_rate": 0.5, "warmup_epochs": 1},
    ],
)
def test_a_warm_up_rises_in_a_straight_line_to_the_peak(settings):
    found = rates(settings)
    np.testing.assert_allclose(found[:6], 0.1 * np.arange(1, 7) / 6, rtol=1e-6)
    assert found.max() == pytest.approx(0.1)


def test_a_cosine_falls_to_its_final_share_at_the_last_update():
    found = rates({"kind": "cosine", "peak": 0.1, "final_share": 0.1})
    assert found[0] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.01)
    assert (np.diff(found) < 0).all()


@pytest.mark.parametrize(
    "settings", [{"kind": "cosine", "final_share": 0.1}, {"kind": "one_cycle", "final_share": 0.1}]
)
def test_after_its_last_update_a_falling_rate_stays(settings):
    """Updates per epoch may be a fraction, so that there is one more than the schedule has."""
    rate = ADAPTER.validate_python({**settings, "peak": 0.1})
    built = build_learning_rate(rate, updates_per_epoch=2.5, epochs=3)
    assert [float(built(step)) for step in (7, 8, 20)] == pytest.approx([0.01] * 3)


def test_an_exponential_has_its_factor_after_each_period():
    settings = {"kind": "exponential", "peak": 0.1, "decay_rate": 0.5, "decay_epochs": 2}
    np.testing.assert_allclose(rates(settings)[[0, 10]], [0.1, 0.05], rtol=1e-6)
    np.testing.assert_allclose(rates({**settings, "staircase": True}), [0.1] * 10 + [0.05] * 10, rtol=1e-6)


def test_piecewise_rates_change_with_the_first_update_of_an_epoch():
    settings = {"kind": "piecewise", "learning_rates": [0.3, 0.2, 0.1], "boundaries_epochs": [1, 3]}
    np.testing.assert_allclose(rates(settings), [0.3] * 5 + [0.2] * 10 + [0.1] * 5, rtol=1e-6)


def test_one_cycle_rises_to_the_peak_and_falls_to_almost_nothing():
    found = rates({"kind": "one_cycle", "peak": 1.0, "warmup_share": 0.25})
    assert found[0] == pytest.approx(0.04)
    assert found.argmax() == 5
    assert found[5] == pytest.approx(1.0)
    assert found[-1] == pytest.approx(0.0001, rel=1e-2)


@pytest.mark.parametrize("boundaries", [[], [1, 2], [0]])
def test_piecewise_wants_one_boundary_between_two_rates(boundaries):
    with pytest.raises(ValueError, match=r"boundaries_epochs"):
        ADAPTER.validate_python({"kind": "piecewise", "learning_rates": [0.3, 0.2], "boundaries_epochs": boundaries})
