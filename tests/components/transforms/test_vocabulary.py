"""Texts as ids: the same from a table as from a saved model, and fitted to training texts alone."""

import io
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples import tokens
from headrace.components.examples.splits import assign_split
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split
from headrace.components.serving_model.raw_model import raw_model
from headrace.components.statistics.summary import summarize_tokens
from headrace.components.transforms.apply import apply
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.fit import fit
from headrace.components.transforms.impute import Impute
from headrace.components.transforms.one_hot import OneHot
from headrace.components.transforms.standardize import Standardize
from headrace.components.transforms.token_ids import token_ids
from headrace.components.transforms.vocabulary import Vocabulary

LABEL = CategoryLabel(name="kind", classes=("a", "b"))
CHARACTERS = TextFeature(length=5)
WORDS = TextFeature(length=5, unit="word")

# What TensorFlow, Keras, NumPy and Polars could take in different ways.
TROUBLE = " \t\n\v\f\r\0\x1c\x85\u00a0\u2003\u3000\ufeffaaéß\u0301\U0001f600\u200d"
TEXTS = st.text(st.sampled_from(TROUBLE) | st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "[UNK]", "a [UNK] b", "a\0 b", " ", "\ufeff"]
)


def shard(texts, first=0):
    content = io.BytesIO()
    table = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).with_columns(kind=pl.lit("a"))
    ids = (pl.int_range(pl.len(), dtype=pl.UInt64) + first).mul(0x9E3779B97F4A7C15)
    table.select(example_id=ids, text="text", kind="kind").write_parquet(content)
    return content.getvalue()


def fit_text(shards, feature=CHARACTERS, *, size=10_000, label=LABEL, split=None):
    return fit(
        shards,
        split=split or Split(validation_fraction=0),
        features={"text": feature},
        transforms={"text": (Vocabulary(size=size),)},
        label=label,
    )


def vocabulary(fitted) -> tuple[str, ...]:
    return fitted.features["text"].transforms[0].tokens


@pytest.mark.parametrize("size", [0, 1_000_001])
def test_its_size_has_limits(size) -> None:
    with pytest.raises(ValidationError, match="equal to"):
        Vocabulary(size=size)


def test_tokens_are_ordered_by_count_and_then_by_text() -> None:
    fitted = fit_text([shard(["banana", "cab"])])
    assert vocabulary(fitted) == ("a", "b", "n", "c")
    assert (fitted.tokens, fitted.features["text"].shape) == (6, (5,))
    assert vocabulary(fit_text([shard(["banana", "cab"])], size=2)) == ("a", "b")
    assert vocabulary(fit_text([shard(["nn"]), shard(["bb"])])) == ("b", "n")  # not in the order they were met


def test_ids_are_padded_cut_and_1_for_what_no_training_text_had() -> None:
    texts = pl.Series(["abc", "", "cabbage", "x"])
    expected = [[2, 3, 4, 0, 0], [0] * 5, [4, 2, 3, 3, 2], [1, 0, 0, 0, 0]]
    assert token_ids(texts, ["a", "b", "c"], unit="character", length=5).tolist() == expected
    words = pl.Series(["to be  or\tnot\n", " to\u00a0be"])
    assert token_ids(words, ["to", "be"], unit="word", length=3).tolist() == [[2, 3, 1], [1, 0, 0]]


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(TEXTS, max_size=12), unit=st.sampled_from(["character", "word"]), block=st.integers(1, 40))
def test_counts_do_not_depend_on_blocks(texts, unit, block) -> None:
    feature, column = TextFeature(length=3, unit=unit), pl.Series(texts, dtype=pl.String)
    split = list if unit == "character" else lambda text: text.translate(dict.fromkeys(b"\t\n\v\f\r", " ")).split(" ")
    expected = Counter(token for text in texts for token in split(text) if token)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_BLOCK_TOKENS", block)
        summary = summarize_tokens(column, feature, limit=1000)
        ids = token_ids(column, ["a"], unit=unit, length=3)
    assert summary.counts == dict(expected)
    assert ids.tolist() == token_ids(column, ["a"], unit=unit, length=3).tolist()


@settings(deadline=None, max_examples=30)
@given(texts=st.lists(TEXTS, min_size=1, max_size=20), cut=st.integers(0, 20))
def test_a_vocabulary_does_not_depend_on_shards_or_their_order(texts, cut) -> None:
    texts = [*texts, "a"]
    whole = vocabulary(fit_text([shard(texts)]))
    assert vocabulary(fit_text([shard(texts[cut:], cut), shard(texts[:cut])])) == whole


def test_held_out_texts_do_not_change_a_vocabulary() -> None:
    split = Split(seed=1, validation_fraction=0.3, test_fraction=0.3)
    table = pl.read_parquet(shard(["abc"] * 50))
    held_out = table.select(assign_split(split, columns=table.columns) != "train").to_series()
    assert 0 < held_out.sum() < 50
    changed = pl.Series(["abc", "xyz"])[held_out.cast(pl.UInt32)]
    assert fit_text([shard(changed)], split=split) == fit_text([shard(["abc"] * 50)], split=split)


def test_a_column_without_a_token_can_t_be_fitted() -> None:
    with pytest.raises(DataError, match="text: missing in every training example"):
        fit_text([shard(["", ""])])


@pytest.mark.parametrize("feature", [CHARACTERS, WORDS], ids=["characters", "words"])
@settings(deadline=None, max_examples=15)
@given(training=st.lists(TEXTS, min_size=1, max_size=8), others=st.lists(TEXTS, min_size=1, max_size=8))
def test_a_saved_model_gives_the_ids_of_the_table(feature, training, others) -> None:
    fitted = fit_text([shard([*training, "a"])], feature)
    inputs = keras.Input((feature.length,))
    with TemporaryDirectory() as folder:
        raw_model(keras.Model(inputs, inputs * 1.0), fitted).save(Path(folder) / "model.keras")
        model = keras.saving.load_model(Path(folder) / "model.keras", safe_mode=True)
    texts = [*training, *others]
    by_model = model({"text": np.array(texts, dtype=object).reshape(-1, 1)}).numpy()
    table = apply(pl.read_parquet(shard(texts)).lazy(), fitted, label=pl.lit(0)).collect()
    np.testing.assert_array_equal(table["text"].to_numpy(), by_model)


@pytest.mark.parametrize(
    ("feature", "chain", "message"),
    [
        (CHARACTERS, (), "a text must become numbers; add vocabulary"),
        (CHARACTERS, (OneHot(),), "one_hot can't be applied to a text; possible are: vocabulary"),
        (CHARACTERS, (Vocabulary(), Standardize()), "standardize can't be applied to tokens; it must be the last"),
        (
            CHARACTERS,
            (Impute(strategy="most_frequent"), Vocabulary()),
            "impute fills numbers and categories, not texts",
        ),
        (NumberFeature(), (Vocabulary(),), "vocabulary can't be applied to a number"),
    ],
)
def test_chains_that_do_not_fit_a_text_are_refused(feature, chain, message) -> None:
    with pytest.raises(ParamsError, match=message):
        check({"text": feature}, {"text": chain})
