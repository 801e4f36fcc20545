"""Losses and metrics of next tokens."""

import keras
import numpy as np
import pytest

from headrace.components.examples.settings import NextTokenLabel
from headrace.components.training.optimization.losses import build_loss, build_metrics

LABEL = NextTokenLabel(name="text")
LOGITS = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
WHOLE = np.array([[2, 3, 4, 1], [4, 4, 2, 3], [1, 2, 3, 4]], np.int32)
PADDED = np.array([[2, 3, 4, 1], [4, 0, 0, 0], [0, 0, 0, 0]], np.int32)


def losses(ids):
    return keras.losses.sparse_categorical_crossentropy(ids, LOGITS, from_logits=True).numpy()


def test_without_padding_the_loss_is_cross_entropy():
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(WHOLE, LOGITS)
    assert float(build_loss(LABEL)(WHOLE, LOGITS)) == pytest.approx(float(wanted), rel=1e-6)


def test_padding_is_no_loss_and_a_batch_s_parts_weigh_by_their_examples():
    loss = build_loss(LABEL)
    whole = float(loss(PADDED, LOGITS))
    assert whole == pytest.approx(losses(PADDED)[PADDED != 0].sum() / PADDED.size, rel=1e-6)
    parts = [float(loss(PADDED[part], LOGITS[part])) for part in (slice(0, 1), slice(1, 3))]
    assert whole == pytest.approx((parts[0] + 2 * parts[1]) / 3, rel=1e-6)


def test_accuracy_and_perplexity_are_of_tokens_and_not_of_padding():
    accuracy, perplexity = metrics = build_metrics(LABEL)
    for part in (slice(0, 1), slice(1, 3)):
        for metric in metrics:
            metric.update_state(PADDED[part], LOGITS[part])
    is_token = PADDED != 0
    assert float(accuracy.result()) == pytest.approx((LOGITS.argmax(axis=2) == PADDED)[is_token].mean())
    assert float(perplexity.result()) == pytest.approx(np.exp(losses(PADDED)[is_token].mean()), rel=1e-5)
