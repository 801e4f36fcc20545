"""A column for each category."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.transforms import training_rows
from headrace.components.transforms.one_hot import FittedOneHot

ONE_HOT = {"kind": "one_hot"}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent"}


def test_it_takes_the_categories_in_their_order(fit_one):
    fitted = fit_one(["b", None, *reversed("abcdefgh"), ""], [ONE_HOT], CategoryFeature(nullable=True))
    assert fitted.transforms == (FittedOneHot(categories=tuple("abcdefgh")),)
    assert fitted.shape == (9,)


def test_too_many_different_values_are_refused(monkeypatch, fit_one):
    monkeypatch.setattr(training_rows, "MOST_CATEGORIES", 2)
    with pytest.raises(DataError, match="x: more than 2 different values"):
        fit_one(["a", "b", "c"], [ONE_HOT], CategoryFeature())


def test_a_column_without_any_value_is_named(fit_one):
    with pytest.raises(DataError, match="x: missing in every training example"):
        fit_one(pl.Series([None, ""]), [MOST_FREQUENT, ONE_HOT], CategoryFeature())


def test_there_is_a_first_column_for_other_and_missing(applied):
    x = applied(["b", "?", None, "a"], CategoryFeature(), FittedOneHot(categories=("a", "b")), width=3)
    assert x.to_list() == [[0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]]


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    chains = [[ONE_HOT], [MOST_FREQUENT, ONE_HOT], [{**MOST_FREQUENT, "indicator": True}, ONE_HOT]]
    assert_chains_agree(data, categories=chains)
