"""The simulation behind docs/capacity.md, where its result is known."""

import pytest

from infra import capacity_page
from infra.capacity_page import MODELS, Model, efficiency, first_above, lost_share, step_seconds


@pytest.fixture
def exact(monkeypatch):
    """A network without latency, machines that are all alike."""
    monkeypatch.setattr(capacity_page, "STEP_SPREAD", 0.0)
    monkeypatch.setattr(capacity_page, "LATENCY_SECONDS", 0.0)


def test_one_worker_waits_for_nobody(exact):
    assert step_seconds(MODELS[0], 1) == pytest.approx(MODELS[0].step_seconds)


@pytest.mark.parametrize("workers", [2, 5, 64])
def test_a_ring_of_equal_workers_takes_what_arithmetic_says(exact, workers):
    model = Model("any", 25_000_000, 0.3)
    sent_bytes = 2 * (workers - 1) / workers * 4 * model.parameters
    link_seconds = sent_bytes / capacity_page.BANDWIDTH_BYTES_A_SECOND
    own_seconds = sent_bytes * capacity_page.BYTE_SECONDS + 2 * (workers - 1) * capacity_page.HOP_SECONDS
    assert step_seconds(model, workers, steps=2) == pytest.approx(0.3 + link_seconds + own_seconds)


def test_more_workers_wait_longer_for_each_other():
    for model in MODELS:
        found = [efficiency(model, workers) for workers in (1, 2, 8, 64)]
        assert found == sorted(found, reverse=True) and found[0] == pytest.approx(1, abs=0.05)


def test_lost_time_is_a_share_of_it():
    assert lost_share(0) == 0
    assert 0.5 < lost_share(10_000) < lost_share(10_000, redone_seconds=600) < 1


def test_the_first_size_above_a_limit():
    assert first_above(10, lambda size: size) == 16
    assert first_above(1e9, lambda size: size) == 1 << 20
