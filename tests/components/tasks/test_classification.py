"""Classification: metrics, held equal to scikit-learn's, losses, and how much each example counts."""

import keras
import numpy as np
import polars as pl
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.tasks.category_outcome import (
    category_metrics,
    category_outcome,
    class_scores,
    confusion_matrix,
    most_confused,
    precision_recall_curve,
    roc_curve,
)
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

LABEL = CategoryLabel(name="kind", classes=("a", "b", "c"))
LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 3.0]], np.float32)
LABELS = np.array([0, 1], np.int32)
TASK = task_of(LABEL)


def _outputs(seed: int, examples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; rounded, so that equal scores occur."""
    random = np.random.default_rng(seed)
    scores = np.round(random.random((examples, classes)) + 0.05, 1)
    return random.integers(classes, size=examples), (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), examples=st.integers(1, 60), classes=st.integers(2, 5))
def test_a_confusion_matrix_has_a_row_for_each_true_class(seed: int, examples: int, classes: int) -> None:
    labels, probabilities = _outputs(seed, examples, classes)
    predicted = probabilities.argmax(axis=1)
    expected = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(classes))
    np.testing.assert_array_equal(confusion_matrix(labels, predicted, num_classes=classes), expected)


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
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


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
    scores = class_scores(labels, labels, classes=("a", "b", "c"))
    assert [(score.name, score.f1, score.support) for score in scores] == [("a", 1, 1), ("b", 1, 1), ("c", 0, 0)]


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    assert category_metrics(np.array([0]), np.array([[0, 1]], np.float32))["loss"] == pytest.approx(16.118, abs=1e-3)


def test_one_class_in_the_labels_leaves_the_areas_out() -> None:
    metrics = category_metrics(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]], np.float32))
    assert {"accuracy", "mcc", "balanced_accuracy"} < metrics.keys()
    assert not {"roc_auc", "average_precision"} & metrics.keys()


def test_smoothed_labels_give_what_keras_gives_for_one_hot_labels():
    wanted = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(
        np.eye(3, dtype=np.float32)[LABELS], LOGITS
    )
    assert float(TASK.loss(label_smoothing=0.1)(LABELS, LOGITS)) == pytest.approx(float(wanted), rel=1e-6)


def test_smoothing_by_nothing_is_plain_cross_entropy():
    smoothed = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, LOGITS)
    assert float(TASK.loss(label_smoothing=0.0)(LABELS, LOGITS)) == pytest.approx(float(smoothed), rel=1e-6)


def test_balanced_classes_weigh_the_same_with_a_mean_of_one():
    labels = np.array([0, 0, 0, 0, 0, 0, 2, 2, 0, 0], np.int32)  # no "b"
    weights = TASK.example_weights(labels, class_weights="balanced")
    assert weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1.0)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 2].sum())


def test_a_class_that_is_left_out_counts_one():
    weights = TASK.example_weights(np.array([0, 1, 2], np.int32), class_weights={"b": 2.5})
    np.testing.assert_array_equal(weights, np.array([1, 2.5, 1], np.float32))


def test_unweighted_classes_have_no_weights():
    assert TASK.example_weights(LABELS, class_weights=None) is None


def test_a_label_is_its_place_among_the_classes_and_another_text_is_an_error():
    of = FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))
    labels = TASK.label_values(FittedTable(features={"x": of}, label=LABEL, training_examples=1))
    assert pl.DataFrame({"kind": ["c", "a"]}).select(labels).to_series().to_list() == [2, 0]
    with pytest.raises(pl.exceptions.InvalidOperationError):
        pl.DataFrame({"kind": ["d"]}).select(labels)


def test_metrics_are_named_as_they_are_measured():
    two = task_of(CategoryLabel(name="kind", classes=("no", "yes")))
    found = category_metrics(np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]], np.float32))
    assert tuple(found) == two.metric_names
    assert set(two.metric_names) - set(TASK.metric_names) == {"roc_auc"}


def test_pairs_are_in_the_order_of_how_often_they_are_confused() -> None:
    labels, predicted = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 2, 2, 0, 2, 1])
    assert most_confused(labels, predicted, classes="abc") == [("b", "c", 2), ("a", "b", 1), ("c", "a", 1)]
    assert most_confused(labels, labels, classes="abc") == []


def test_of_very_many_classes_there_is_no_matrix_and_all_else() -> None:
    label = CategoryLabel(name="kind", classes=tuple(map(str, range(5_000))))
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 5_000, 300), random.random((300, 5_000), np.float32)
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    outcome = category_outcome(labels, probabilities, label=label, worst_examples=3)
    assert outcome.matrix is None
    assert outcome.figures == {}
    assert len(outcome.confusions) == 12
    assert len(outcome.scores) == 5_000
    assert outcome.metrics["accuracy"] == np.mean(probabilities.argmax(axis=1) == labels)
