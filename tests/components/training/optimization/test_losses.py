"""Losses, and how much each example counts."""

import keras
import numpy as np
import pytest

from headrace.components.examples.settings import CategoryLabel, NumberLabel
from headrace.components.training.optimization.losses import build_loss, example_weights

LABEL = CategoryLabel(name="kind", classes=("a", "b", "c"))
LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 3.0]], np.float32)
LABELS = np.array([0, 1], np.int32)


def test_smoothed_labels_give_what_keras_gives_for_one_hot_labels():
    wanted = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(
        np.eye(3, dtype=np.float32)[LABELS], LOGITS
    )
    assert float(build_loss(LABEL, label_smoothing=0.1)(LABELS, LOGITS)) == pytest.approx(float(wanted), rel=1e-6)


def test_smoothing_by_nothing_is_plain_cross_entropy():
    smoothed = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, LOGITS)
    assert float(build_loss(LABEL)(LABELS, LOGITS)) == pytest.approx(float(smoothed), rel=1e-6)


def test_balanced_classes_weigh_the_same_with_a_mean_of_one():
    labels = np.array([0, 0, 0, 0, 0, 0, 2, 2, 0, 0], np.int32)  # no "b"
    weights = example_weights(labels, label=LABEL, class_weights="balanced")
    assert weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1.0)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 2].sum())


def test_a_class_that_is_left_out_counts_one():
    weights = example_weights(np.array([0, 1, 2], np.int32), label=LABEL, class_weights={"b": 2.5})
    np.testing.assert_array_equal(weights, np.array([1, 2.5, 1], np.float32))


def test_numbers_and_unweighted_classes_have_no_weights():
    assert example_weights(LABELS, label=LABEL, class_weights=None) is None
    assert example_weights(np.ones(2), label=NumberLabel(name="price"), class_weights=None) is None
