"""A category as the number of its rank."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.transforms.ordinal import FittedOrdinal, Ordinal

ORDINAL = {"kind": "ordinal"}
INDICATED = {"kind": "impute", "strategy": "most_frequent", "indicator": True}


def test_a_list_of_categories_is_not_empty():
    with pytest.raises(ValidationError, match="at least 1 item"):
        Ordinal(categories=())


@pytest.mark.parametrize(("named", "expected"), [(None, ("a", "b")), (["b", "a", "c"], ("b", "a", "c"))])
def test_it_takes_the_categories_that_are_named_or_those_seen(named, expected, fit_one):
    fitted = fit_one(["b", "a", None], [{**ORDINAL, "categories": named}], CategoryFeature(nullable=True))
    assert fitted.transforms == (FittedOrdinal(categories=expected),)
    assert fitted.shape == (1,)


def test_a_column_without_any_value_is_named(fit_one):
    with pytest.raises(DataError, match="x: missing in every training example"):
        fit_one(pl.Series([None, ""]), [ORDINAL], CategoryFeature())


def test_it_counts_from_1_with_0_for_other(applied):
    x = applied(["b", "?", None, "a"], CategoryFeature(), FittedOrdinal(categories=("a", "b")))
    assert x.to_list() == [2, 0, 0, 1]


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    named, standardize, min_max = (
        {**ORDINAL, "categories": ["b", "red", "never"]},
        {"kind": "standardize"},
        {"kind": "min_max"},
    )
    chains = [[ORDINAL], [ORDINAL, standardize], [named, standardize], [INDICATED, ORDINAL, min_max]]
    assert_chains_agree(data, categories=chains)
