"""Metrics, held equal to scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.evaluation.gate import lower_is_better, metric_names
from headrace.components.evaluation.metrics import (
    category_metrics,
    class_scores,
    confusion_matrix,
    number_metrics,
    numbers_metrics,
    precision_recall_curve,
    roc_curve,
)
from headrace.components.examples.settings import NumbersLabel, NumberTarget


def _outputs(seed: int, examples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; rounded, so that equal scores occur."""
    random = np.random.default_rng(seed)
    scores = np.round(random.random((examples, classes)) + 0.05, 1)
    return random.integers(classes, size=examples), (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), examples=st.integers(1, 60), classes=st.integers(2, 5))
def test_category_metrics_equal_scikit_learns(seed: int, examples: int, classes: int) -> None:
    labels, probabilities = _outputs(seed, examples, classes)
    predicted = probabilities.argmax(axis=1)

    found = category_metrics(labels, probabilities)

    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    expected = {
        "loss": -np.log(probabilities[np.arange(examples), labels].astype(float)).mean(),
        "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    if classes == 2 and len(np.unique(labels)) == 2:
        expected["roc_auc"] = sklearn.metrics.roc_auc_score(labels, probabilities[:, 1])
        expected["average_precision"] = sklearn.metrics.average_precision_score(labels, probabilities[:, 1])
    assert found == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), examples=st.integers(2, 60))
def test_curves_equal_scikit_learns(seed: int, examples: int) -> None:
    labels, probabilities = _outputs(seed, examples, 2)
    labels[:2] = (0, 1)
    scores = probabilities[:, 1]

    roc, precision_recall = roc_curve(labels, scores), precision_recall_curve(labels, scores)

    x, y, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose((roc.x, roc.y), (x, y))
    precision, recall, _ = sklearn.metrics.precision_recall_curve(labels, scores)
    # scikit-learn runs from the lowest threshold to the highest, and ends in a point (0, 1) of its own.
    np.testing.assert_allclose((precision_recall.x[::-1], precision_recall.y[::-1]), (recall[:-1], precision[:-1]))


def test_a_class_that_nobody_has_and_nobody_predicts_scores_0_and_is_in_no_average() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[1, 0, 0], [0, 1, 0]], np.float32)

    assert category_metrics(labels, probabilities)["f1"] == 1
    scores = class_scores(confusion_matrix(labels, labels, num_classes=3), classes=("a", "b", "c"))
    assert [(score.name, score.f1, score.support) for score in scores] == [("a", 1, 1), ("b", 1, 1), ("c", 0, 0)]


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    assert category_metrics(np.array([0]), np.array([[0, 1]], np.float32))["loss"] == pytest.approx(16.118, abs=1e-3)


def test_one_class_in_the_labels_leaves_the_areas_out() -> None:
    metrics = category_metrics(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]], np.float32))
    assert metrics.keys() == {"loss", "accuracy", "precision", "recall", "f1"}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=2, max_size=30))
def test_number_metrics_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs, dtype=float).T

    found = number_metrics(labels, predictions)

    expected = {
        "loss": sklearn.metrics.mean_squared_error(labels, predictions),
        "root_mean_squared_error": sklearn.metrics.root_mean_squared_error(labels, predictions),
        "mean_absolute_error": sklearn.metrics.mean_absolute_error(labels, predictions),
    }
    if len(np.unique(labels)) > 1:
        expected["r2"] = sklearn.metrics.r2_score(labels, predictions)
    assert found == pytest.approx(expected)


def test_metrics_of_several_numbers_are_each_one_s_own_and_those_of_all() -> None:
    draw = np.random.default_rng(1)
    labels = draw.normal([180, 35, 7], [20, 3, 0], (50, 3))  # the last is a constant
    predictions = labels + draw.normal(0, [10, 1, 0.1], (50, 3))
    label = NumbersLabel(targets={"Weight": NumberTarget(), "größe {m}": NumberTarget(), "c": NumberTarget()})
    found = numbers_metrics(labels, predictions, label=label)
    assert set(found) == set(metric_names(label)) - {"c.r2"}
    for place, name in enumerate(["Weight", "grosse_m", "c"]):
        own = number_metrics(labels[:, place], predictions[:, place])
        assert {key: found[f"{name}.{key}"] for key in own} == own
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(labels[:, :2], predictions[:, :2]))
    scaled = (predictions - labels) / [*np.std(labels[:, :2], axis=0), 1]
    assert found["loss"] == pytest.approx(np.mean(scaled**2))
    assert all(lower_is_better(name) != name.endswith("r2") for name in found)
