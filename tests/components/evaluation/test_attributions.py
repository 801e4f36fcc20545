"""Integrated gradients of networks whose answer is known."""

from dataclasses import replace

import keras
import numpy as np
import polars as pl
import pytest

from headrace.components.evaluation.report_parts.attributions import (
    attributions,
    integrated_gradients,
    token_attributions,
)
from headrace.components.evaluation.report_parts.subject import Subject
from headrace.components.evaluation.settings import Evaluate
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of


def image_network() -> keras.Model:
    """A network within a model, as a saved one has it, with random weights."""
    keras.utils.set_random_seed(0)
    image = keras.Input((9, 9, 1), name="picture")
    core = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    return keras.Model({"picture": image}, core(keras.layers.Rescaling(1 / 255)(image)))


def text_network() -> keras.Model:
    """Good words speak for the second class, bad ones for the first, and others for none."""
    text = keras.Input((1,), dtype="string", name="review")
    tokens = keras.layers.TextVectorization(
        vocabulary=["good", "bad", "film"], output_sequence_length=6, standardize=None, split="whitespace"
    )(text)
    embedding = keras.layers.Embedding(5, 1)
    scores = keras.layers.GlobalAveragePooling1D()(embedding(tokens))
    embedding.set_weights([np.array([[0.0], [0.0], [3.0], [-3.0], [0.0]])])
    return keras.Model({"review": text}, keras.layers.Softmax()(keras.layers.Concatenate()([-scores, scores])))


def test_what_pixels_add_is_what_the_prediction_has_more_than_that_of_black():
    model, draw = image_network(), np.random.default_rng(0)
    pixels = draw.integers(0, 256, (4, 9, 9, 1)).astype(np.float32)
    targets = np.asarray(model({"picture": pixels})).argmax(axis=1).tolist()
    found = integrated_gradients(model, {"picture": pixels}, "picture", targets)
    assert found is not None
    given, black = (np.asarray(model({"picture": one})) for one in (pixels, pixels * 0))
    expected = [given[row, target] - black[row, target] for row, target in enumerate(targets)]
    assert found.sum(axis=(1, 2, 3)) == pytest.approx(expected, abs=5e-3)


def test_what_words_add_is_what_the_prediction_has_more_than_that_of_none():
    model = text_network()
    texts = np.array([["good film"], ["bad bad film good"]], dtype=object)
    found = token_attributions(model, {"review": texts}, "review", [1, 0])
    assert found is not None
    given = np.asarray(model({"review": texts}))
    assert found.sum(axis=1) == pytest.approx([given[0, 1] - 0.5, given[1, 0] - 0.5], abs=5e-3)
    assert found[0, 0] > 0
    assert found[0, 1] == 0
    assert found[1, 0] == found[1, 1] > 0 > found[1, 3]
    assert model.get_layer(index=2).call.__name__ == "call"  # the layer is as it was
    assert np.array_equal(np.asarray(model({"review": texts})), given)


def test_a_model_without_an_embedding_has_no_words():
    assert token_attributions(image_network(), {"review": np.array([["a"]], dtype=object)}, "review", [0]) is None


def test_pictures_have_heat_maps_and_words_for_who_cannot_see_them(images):
    model = image_network()
    measurement = replace(images.measurement, model=model)
    rows = task_of(images.label).outcome_rows(measurement)
    outcomes = pl.concat([images.outcomes.select("example_id"), rows], how="horizontal")
    found = attributions(Subject(images.label, measurement, outcomes, Evaluate(attributions=4)))
    assert found is not None
    assert (found.feature, found.of_words, len(found.examples)) == ("picture", False, 4)
    worst = outcomes["loss"].arg_max()
    assert found.examples[0].true == outcomes["target"][worst]
    for one in found.examples:
        assert one.heat.shape == (9, 9, 3)
        assert one.picture.shape == (9, 9)
        assert "speak" in one.summary
    assert attributions(Subject(images.label, measurement, outcomes, Evaluate(attributions=0))) is None


def test_texts_have_shaded_words_and_the_strongest_of_them_in_a_list():
    texts = ["good film", "bad film", "film", "good good bad"] * 10
    ids = pl.Series(range(40), dtype=pl.UInt64)
    rows = pl.DataFrame({"example_id": ids, "review": texts, "mood": ["up", "down", "down", "up"] * 10})
    label = CategoryLabel(name="mood", classes=("down", "up"))
    measurement = Measurement(
        model=text_network(),
        rows=rows,
        features={"review": TextFeature(length=6, unit="word")},
        examples=rows.lazy(),
        rows_of_split=lambda _: rows.lazy(),
        split=Split(validation_fraction=0.2, test_fraction=0.3),
        judge=None,
    )
    outcomes = pl.concat([rows.select("example_id"), task_of(label).outcome_rows(measurement)], how="horizontal")
    found = attributions(Subject(label, measurement, outcomes, Evaluate(attributions=20)))
    assert found is not None
    assert (found.of_words, found.joined) == (True, False)
    by_text = {" ".join(word.text for word in one.words): one for one in found.examples}
    assert by_text["good film"].summary.startswith("for: good (+0.23)")
    assert by_text["good film"].words[0].strength == 1
    assert by_text["film"].summary == "no token speaks for or against it"
    assert "against: bad (-" in by_text["good good bad"].summary
