"""Metrics of rows: those of the tasks where each counts once, and scikit-learn's where rows are weighted."""

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.schema.labels import CategoryLabel, NumbersLabel, NumberTarget
from headrace.components.serving_model.next_tokens import NextTokens
from headrace.components.tasks import outcome_rows as rows_of
from headrace.components.tasks.category_outcome import category_metrics
from headrace.components.tasks.number_outcome import number_metrics, numbers_metrics
from headrace.components.tasks.row_metrics import value_of
from headrace.components.tasks.token_outcome import token_metrics
from headrace.components.tasks.variants import task_of

seeds = st.integers(0, 2**32 - 1)


def a_category(seed: int, classes: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray, CategoryLabel]:
    """Labels that the probabilities know something of; equal scores occur, a class may not."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(classes, rows, p=(weights := draw.dirichlet(np.ones(classes))) / weights.sum())
    logits = draw.normal(size=(rows, classes)).round(1)
    logits[np.arange(rows), labels] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities.astype(np.float32), CategoryLabel(name="kind", classes=tuple(map(str, range(classes))))


def values(metrics: rows_of.RowMetrics, rows: int) -> dict[str, float]:
    return {name: value_of(metric(), rows) for name, metric in metrics.items()}


def same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert expected.keys() <= found.keys()
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), rtol=1e-9, atol=1e-12)


@given(seeds, st.integers(2, 5))
@settings(deadline=None, max_examples=30)
def test_metrics_of_rows_are_those_of_a_category(seed: int, classes: int) -> None:
    labels, probabilities, label = a_category(seed, classes)
    rows = rows_of.category_rows(labels, probabilities, label=label)
    same(values(rows_of.category_row_metrics(rows, label=label), len(labels)), category_metrics(labels, probabilities))


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_metrics_of_rows_are_those_of_numbers(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.normal(50, 3, (40, 2))
    predictions = labels + draw.normal(0, 1, (40, 2))
    one = rows_of.number_rows(labels[:, 0], predictions[:, 0])
    same(values(rows_of.number_row_metrics(one), 40), number_metrics(labels[:, 0], predictions[:, 0]))
    label = NumbersLabel(targets={"a b": NumberTarget(), "c": NumberTarget()})
    both = rows_of.numbers_rows(labels, predictions, label=label)
    same(values(rows_of.numbers_row_metrics(both, label=label), 40), numbers_metrics(labels, predictions, label=label))
    assert both["loss"].mean() == pytest.approx(numbers_metrics(labels, predictions, label=label)["loss"])


def test_metrics_of_rows_are_those_of_texts() -> None:
    draw = np.random.default_rng(0)
    found = NextTokens(
        draw.integers(0, 4, (30, 6)).astype(np.int32),
        draw.integers(1, 4, (30, 6)).astype(np.int32),
        draw.exponential(size=(30, 6)),
    )
    rows = rows_of.token_rows(found)
    same(values(rows_of.token_row_metrics(rows), 30), token_metrics(found.targets, found.predicted, found.losses))


@given(seeds, st.integers(2, 4))
@settings(deadline=None, max_examples=20)
def test_weighted_rows_have_the_metrics_of_rows_that_are_there_as_often(seed: int, classes: int) -> None:
    labels, probabilities, label = a_category(seed, classes)
    rows = rows_of.category_rows(labels, probabilities, label=label)
    times = np.random.default_rng(seed).poisson(1, len(labels))
    repeated = rows[np.repeat(np.arange(len(labels)), times)]
    expected = category_metrics(np.repeat(labels, times), np.repeat(probabilities, times, axis=0))
    for name, metric in rows_of.category_row_metrics(rows, label=label).items():
        function = metric().resampled(np.arange(len(labels)), len(labels))
        [found] = function(times[np.newaxis].astype(float))
        if name in expected and not (name == "average_precision" and repeated["target"].n_unique() < classes):
            assert found == pytest.approx(expected[name], rel=1e-9), name


@given(seeds, st.integers(2, 5))
@settings(deadline=None, max_examples=30)
def test_metrics_for_unbalanced_classes_are_scikit_learn_s(seed: int, classes: int) -> None:
    labels, probabilities, _ = a_category(seed, classes, rows=200)
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found, predicted = category_metrics(labels, probabilities), probabilities.argmax(axis=1)
    one_hot = np.eye(classes)[labels]
    present = one_hot.any(axis=0)
    expected = {
        "mcc": peer.matthews_corrcoef(labels, predicted),
        "log_loss": peer.log_loss(labels, probabilities, labels=range(classes)),
        "brier": peer.brier_score_loss(labels, probabilities, labels=range(classes)),  # halved of two classes
        "balanced_accuracy": peer.recall_score(labels, predicted, labels=np.flatnonzero(present), average="macro"),
    }
    if present.sum() > 1:
        scored = (labels, probabilities[:, 1]) if classes == 2 else (one_hot[:, present], probabilities[:, present])
        expected["average_precision"] = peer.average_precision_score(*scored)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([[0.0, 1.0]] * 4, 0.5),  # certain, and right half of the time
        ([[0.5, 0.5]] * 4, 0.0),  # as unsure as it should be
        ([[0.25, 0.75]] * 4, 0.25),
    ],
)
def test_calibration_error_is_what_certainty_and_share_of_hits_differ_by(
    probabilities: list[list[float]], expected: float
) -> None:
    found = category_metrics(np.array([0, 1, 0, 1]), np.array(probabilities))
    assert found["expected_calibration_error"] == pytest.approx(expected)


def test_of_very_many_classes_only_the_predicted_one_s_probability_is_kept() -> None:
    labels, probabilities, label = a_category(0, 101)
    rows = rows_of.category_rows(labels, probabilities, label=label)
    assert rows.columns == ["target", "prediction", "loss", "probability"]
    metrics = rows_of.category_row_metrics(rows, label=label)
    same(
        category_metrics(labels, probabilities),
        values(metrics, len(labels)),
    )
    assert "brier" not in metrics


def test_the_table_of_outcomes_says_what_was_true_and_what_was_predicted() -> None:
    label = CategoryLabel(name="side", classes=("tails", "heads"))
    rows = rows_of.category_rows(np.array([1, 0]), np.array([[0.2, 0.8], [0.4, 0.6]], np.float32), label=label)
    expected = {
        "target": ["heads", "tails"],
        "prediction": ["heads", "heads"],
        "loss": -np.log(np.array([0.8, 0.4], np.float32).astype(np.float64)),
        "probability_tails": np.array([0.2, 0.4], np.float32),
        "probability_heads": np.array([0.8, 0.6], np.float32),
    }
    assert rows.equals(pl.DataFrame(expected))


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_outcomes_of_several_numbers_in_parts_are_those_of_all_rows_to_the_bit(seed: int, cuts: list[int]) -> None:
    label = NumbersLabel(targets={name: NumberTarget() for name in ("a", "b", "c")})
    random, rows = np.random.default_rng(seed), sum(cuts)
    table = pl.DataFrame({name: random.normal(scale=10.0**place, size=rows) for place, name in enumerate("abc")})
    predictions = random.normal(size=(rows, 3)).astype(np.float32).astype(np.float64)

    whole = rows_of.numbers_rows(table.to_numpy(), predictions, label=label)

    starts = [sum(cuts[:place]) for place in range(len(cuts))]
    parts = [
        rows_of.numbers_rows(table[start : start + length].to_numpy(), predictions[start : start + length], label=label)
        for start, length in zip(starts, cuts, strict=True)
    ]
    assert task_of(label).joined_outcomes(parts).equals(whole)
