"""Next tokens: labels, losses and metrics in nats a token, in which padding counts for nothing."""

import math

import keras
import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError, TrainingError
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import NextTokenLabel
from headrace.components.serving_model.next_tokens import NextTokens, TextModel
from headrace.components.tasks.metric_names import lower_is_better
from headrace.components.tasks.token_outcome import token_metrics, token_outcome
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable, FittedVocabulary

LABEL = NextTokenLabel(name="text")
TASK = task_of(LABEL)
MODEL = TextModel(model=None, name="text", vocabulary=("a", "b", "\n"), unit="character", length=3)
LOGITS = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
WHOLE = np.array([[2, 3, 4, 1], [4, 4, 2, 3], [1, 2, 3, 4]], np.int32)
PADDED = np.array([[2, 3, 4, 1], [4, 0, 0, 0], [0, 0, 0, 0]], np.int32)


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
    assert tuple(metrics) == TASK.metric_names


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


def test_next_tokens_are_the_ids_one_place_on() -> None:
    of = FittedFeature(
        feature=TextFeature(length=4), transforms=(FittedVocabulary(tokens=("e", "h", "l", "!")),), shape=(4,)
    )
    fitted = FittedTable(features={"text": of}, label=LABEL, training_examples=1)
    rows = pl.LazyFrame({"example_id": [1, 2], "text": ["hello!", "he"]})
    table = apply(rows, fitted, label=TASK.label_values(fitted)).collect()
    assert table.schema["label"] == pl.Array(pl.Int32, 4)
    assert table["text"].to_list() == [[3, 2, 4, 4], [3, 2, 0, 0]]
    assert table["label"].to_list() == [[2, 4, 4, 1], [2, 0, 0, 0]]


def losses(ids):
    return keras.losses.sparse_categorical_crossentropy(ids, LOGITS, from_logits=True).numpy()


def test_without_padding_the_loss_is_cross_entropy():
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(WHOLE, LOGITS)
    assert float(TASK.loss(label_smoothing=0.0)(WHOLE, LOGITS)) == pytest.approx(float(wanted), rel=1e-6)


def test_padding_is_no_loss_and_a_batch_s_parts_weigh_by_their_examples():
    loss = TASK.loss(label_smoothing=0.0)
    whole = float(loss(PADDED, LOGITS))
    assert whole == pytest.approx(losses(PADDED)[PADDED != 0].sum() / PADDED.size, rel=1e-6)
    parts = [float(loss(PADDED[part], LOGITS[part])) for part in (slice(0, 1), slice(1, 3))]
    assert whole == pytest.approx((parts[0] + 2 * parts[1]) / 3, rel=1e-6)


def test_accuracy_and_perplexity_are_of_tokens_and_not_of_padding():
    accuracy, perplexity = metrics = TASK.epoch_metrics()
    for part in (slice(0, 1), slice(1, 3)):
        for metric in metrics:
            metric.update_state(PADDED[part], LOGITS[part])
    is_token = PADDED != 0
    assert float(accuracy.result()) == pytest.approx((LOGITS.argmax(axis=2) == PADDED)[is_token].mean())
    assert float(perplexity.result()) == pytest.approx(np.exp(losses(PADDED)[is_token].mean()), rel=1e-5)
