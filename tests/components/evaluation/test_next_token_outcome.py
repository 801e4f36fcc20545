"""Figures of next tokens: in nats a token, and padding counts in none."""

import math

import numpy as np
import pytest

from headrace.components.errors import DataError, TrainingError
from headrace.components.evaluation.gate import lower_is_better, metric_names
from headrace.components.evaluation.metrics import token_metrics
from headrace.components.evaluation.next_token_outcome import token_outcome
from headrace.components.examples.settings import NextTokenLabel
from headrace.components.models.next_tokens import NextTokens, TextModel

MODEL = TextModel(model=None, name="text", vocabulary=("a", "b", "\n"), unit="character", length=3)


def predictions(**changes) -> NextTokens:
    columns = {
        "targets": np.array([[2, 3, 4], [3, 0, 0], [0, 0, 0]], np.int32),
        "predicted": np.array([[2, 2, 4], [3, 0, 0], [0, 0, 0]], np.int32),
        "losses": np.array([[0.1, 2.0, 0.3], [0.4, 9.0, 9.0], [9.0, 9.0, 9.0]], np.float32),
    }
    return NextTokens(**{**columns, **changes})


def test_padding_counts_in_no_figure() -> None:
    found = predictions()
    metrics = token_metrics(found.targets, found.predicted, found.losses)
    assert metrics["cross_entropy"] == pytest.approx(0.7)
    assert metrics["perplexity"] == pytest.approx(math.exp(0.7))
    assert metrics["accuracy"] == pytest.approx(3 / 4)
    assert tuple(metrics) == metric_names(NextTokenLabel(name="text"))


def test_texts_of_one_token_have_nothing_to_predict() -> None:
    with pytest.raises(DataError, match="no text has a second token"):
        token_metrics(np.zeros((2, 3), np.int32), np.ones((2, 3), np.int32), np.ones((2, 3), np.float32))


def test_the_worst_texts_are_those_with_the_highest_loss_a_token() -> None:
    outcome = token_outcome(predictions(), model=MODEL, worst_examples=2)
    first, second = outcome.worst
    assert (first.row, first.true, first.predicted, first.detail) == (0, "ab⏎", "aa⏎", "0.800")
    assert (second.row, second.true, second.detail) == (1, "b", "0.400")
    assert list(outcome.figures) == ["cross_entropy_by_place"]
    [line] = outcome.figures["cross_entropy_by_place"].axes[0].get_lines()
    np.testing.assert_allclose(line.get_ydata(), [0.25, 2.0, 0.3])


def test_losses_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(TrainingError, match="not finite numbers"):
        token_outcome(predictions(losses=np.full((3, 3), np.nan)), model=MODEL, worst_examples=1)


@pytest.mark.parametrize(("metric", "lower"), [("cross_entropy", True), ("perplexity", True), ("accuracy", False)])
def test_less_cross_entropy_is_better(metric, lower) -> None:
    assert lower_is_better(metric) == lower
