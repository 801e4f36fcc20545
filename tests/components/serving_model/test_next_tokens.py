"""What a saved model makes of texts, and how it continues with one."""

from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.models.build import build
from headrace.components.models.layers.sequences import Embedding, Recurrent
from headrace.components.models.settings import Model
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import CategoryLabel, NextTokenLabel
from headrace.components.serving_model import next_tokens
from headrace.components.serving_model.next_tokens import generate, predict_tokens, text_model, text_of
from headrace.components.tasks.variants import task_of
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.token_ids import token_ids
from headrace.components.transforms.vocabulary import FittedVocabulary

NEXT = NextTokenLabel(name="line")
LAYERS = Model(layers=(Embedding(units=4), Recurrent(cell="gru", units=8)))


def saved(folder: Path, *, tokens, length=4, unit="character", label=NEXT):
    """A model as it is published, with weights that distinguish tokens."""
    feature = TextFeature(length=length, unit=unit)
    fitted_feature = FittedFeature(feature=feature, transforms=(FittedVocabulary(tokens=tokens),), shape=(length,))
    fitted = FittedTable(features={"line": fitted_feature}, label=label, training_examples=1)
    keras.utils.set_random_seed(3)
    task = task_of(label)
    core = build(LAYERS, input_shape=(length,), output=task.output(fitted.tokens), tokens=fitted.tokens)
    core.set_weights([4 * array for array in core.get_weights()])
    task.saved_model(core, fitted).save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return text_model(saved(tmp_path_factory.mktemp("model"), tokens=("e", "l", "h", "\n")))


def test_a_model_says_how_it_cuts_texts(model, tmp_path) -> None:
    assert (model.name, model.vocabulary, model.unit, model.length) == ("line", ("e", "l", "h", "\n"), "character", 4)
    of_words = text_model(saved(tmp_path, tokens=("to", "be"), unit="word", length=2))
    assert (of_words.vocabulary, of_words.unit, of_words.length) == (("to", "be"), "word", 2)


def test_losses_are_of_the_tokens_that_follow(model, monkeypatch) -> None:
    texts = pl.Series(["hello", "he", "", "\nehlhlhl"])
    expected = model.probabilities(texts.to_list())
    monkeypatch.setattr(next_tokens, "_MOST_PROBABILITIES", 1)  # a text at a time
    found = predict_tokens(model, texts)
    targets = token_ids(texts, model.vocabulary, unit="character", length=5)[:, 1:]
    np.testing.assert_array_equal(found.targets, targets)
    assert found.is_token.sum(axis=1).tolist() == [4, 1, 0, 4]
    for row, place in np.argwhere(found.is_token):
        probability = expected[row, place, int(targets[row, place])]
        assert found.losses[row, place] == pytest.approx(-np.log(probability), rel=1e-4)
    np.testing.assert_array_equal(found.predicted, expected.argmax(axis=2))
    assert text_of(model, found.targets[0]) == "ell\N{REPLACEMENT CHARACTER}"


def test_a_text_goes_on_the_same_way_for_a_seed_and_another_way_for_another(model) -> None:
    texts = ["".join(generate(model, "he", length=30, temperature=1.0, seed=seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert set(texts[0]) <= set(model.vocabulary)  # never padding, never the unknown token
    assert len(texts[0]) == 30


def test_at_temperature_0_the_most_probable_token_follows_each_window(model) -> None:
    text = "h"
    for token in generate(model, "h", length=8, temperature=0, seed=5):
        window = text[-4:]
        probabilities = model.probabilities([window])[0, len(window) - 1, 2:]
        assert token == model.vocabulary[int(probabilities.argmax())]
        text += token


def test_words_go_on_in_words(tmp_path) -> None:
    model = text_model(saved(tmp_path, tokens=("to", "be", "or"), unit="word", length=2))
    words = list(generate(model, "to be", length=6, temperature=1.0, seed=0))
    assert len(words) == 6
    assert set(words) <= {"to", "be", "or"}
    with pytest.raises(DataError, match="words that no training text had: 'not'; known are '3 words'"):
        next(generate(model, "to be or not", length=1, temperature=1.0, seed=0))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("hexeyx", "characters that no training text had: 'x', 'y'; known are .*ehl"), ("", "has no character")],
)
def test_a_prompt_that_can_t_be_gone_on_from_is_refused(model, prompt, message) -> None:
    with pytest.raises(DataError, match=message):
        next(generate(model, prompt, length=1, temperature=1.0, seed=0))


def test_another_model_is_refused(tmp_path) -> None:
    label = CategoryLabel(name="kind", classes=("a", "b"))
    with pytest.raises(DataError, match="no next tokens of a text"):
        text_model(saved(tmp_path, tokens=("a",), label=label))
