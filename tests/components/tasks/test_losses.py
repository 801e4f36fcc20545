"""Losses by name: what they compute, and which labels they are for."""

import keras
import numpy as np
import pytest
from pydantic import TypeAdapter

from headrace.components.schema.labels import CategoryLabel, NumberLabel, NumbersLabel
from headrace.components.tasks.losses import AnyLoss

NUMBER = NumberLabel(name="y")
TWO, THREE = (CategoryLabel(name="kind", classes=classes) for classes in (("a", "b"), ("a", "b", "c")))
LABELS = np.array([0, 1, 1, 0], np.int32)
LOGITS = np.array([[1.0, -0.5], [0.2, 0.1], [-2.0, 3.0], [0.0, 40.0]], np.float32)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
TRUE, PREDICTED = np.array([1.0, 2.0, 5.0], np.float32), np.array([[1.5], [0.0], [5.0]], np.float32)


def loss(kind: str, *, label_smoothing: float = 0.0, **settings) -> keras.losses.Loss:
    return TypeAdapter(AnyLoss).validate_python({"kind": kind, **settings}).keras_form(label_smoothing=label_smoothing)


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("mean_squared_error", {}, (0.25 + 4) / 3),
        ("mean_absolute_error", {}, 2.5 / 3),
        ("huber", {"delta": 1.0}, (0.125 + 1.5) / 3),
        ("log_cosh", {}, (np.log(np.cosh(0.5)) + np.log(np.cosh(2.0))) / 3),
        ("quantile", {"quantile": 0.9}, (0.1 * 0.5 + 0.9 * 2.0) / 3),
    ],
)
def test_losses_of_numbers(kind, settings, expected):
    assert float(loss(kind, **settings)(TRUE, PREDICTED)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_cross_entropy_of_two_classes(smoothing):
    one, other = (loss(f"{kind}cross_entropy", label_smoothing=smoothing) for kind in ("", "binary_"))
    assert float(one(LABELS, LOGITS)) == pytest.approx(float(other(LABELS, LOGITS)), rel=1e-5)


def test_focal_counts_what_is_known_less():
    own = PROBABILITIES[range(4), LABELS].astype(np.float64)
    expected = -((1 - own) ** 2) * np.log(own)
    assert float(loss("focal")(LABELS, LOGITS)) == pytest.approx(expected.mean(), rel=1e-4)
    weighted = expected * np.where(LABELS == 1, 0.25, 0.75)
    assert float(loss("focal", alpha=0.25)(LABELS, LOGITS)) == pytest.approx(weighted.mean(), rel=1e-4)
    plain = loss("cross_entropy")(LABELS, LOGITS)
    assert float(loss("focal", gamma=0.0)(LABELS, LOGITS)) == pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_gradient_of_focal_is_finite_where_a_class_is_certain(gamma):
    import tensorflow as tf

    logits = tf.constant([[100.0, -100.0], [100.0, -100.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss("focal", gamma=gamma)(np.array([0, 1]), logits)
    assert np.isfinite(tape.gradient(value, logits)).all()


def test_a_weight_of_an_example_multiplies_its_loss():
    weights = np.array([2.0, 0.0, 1.0, 1.0], np.float32)
    focal = loss("focal")
    each = [float(focal(LABELS[place : place + 1], LOGITS[place : place + 1])) for place in range(4)]
    assert float(focal(LABELS, LOGITS, sample_weight=weights)) == pytest.approx(np.dot(weights, each) / 4, rel=1e-5)


def test_several_numbers_are_averaged():
    labels = np.stack([TRUE, TRUE + 1], axis=1)
    both = float(loss("quantile", quantile=0.3)(labels, np.repeat(PREDICTED, 2, axis=1)))
    each = [float(loss("quantile", quantile=0.3)(labels[:, place], PREDICTED)) for place in range(2)]
    assert both == pytest.approx(sum(each) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "label", "smoothing", "message"),
    [
        ({"kind": "huber"}, TWO, 0.0, "huber is for numbers, and ingest.label is a category"),
        ({"kind": "focal"}, NUMBER, 0.0, "focal is for categories, and ingest.label is a number"),
        ({"kind": "focal"}, NumbersLabel(targets={"a": {}, "b": {}}), 0.0, "focal is for categories"),
        ({"kind": "focal"}, TWO, 0.1, "train.label_smoothing: focal has none; leave one of them out"),
        ({"kind": "focal", "alpha": 0.3}, THREE, 0.0, "train.loss.alpha: it is for two classes"),
        ({"kind": "binary_cross_entropy"}, THREE, 0.0, "is for two classes, and the label has 3; take cross_entropy"),
    ],
)
def test_a_loss_that_does_not_fit_the_label_is_refused(settings, label, smoothing, message):
    with pytest.raises(ValueError, match=message):
        TypeAdapter(AnyLoss).validate_python(settings).check(label, label_smoothing=smoothing)
