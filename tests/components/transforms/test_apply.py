"""Fitted transforms on a table."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))
CODES = pl.lit(0, pl.Int32)  # the label as its task has it
MEDIAN = {"kind": "impute", "strategy": "median", "indicator": True}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent", "indicator": True}


def test_only_named_features_and_the_given_split_are_kept():
    table = pl.DataFrame({"x": [1.0], "unused": [2.0], "example_id": [7], "answer": ["yes"], "given_split": ["test"]})
    features = {"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))}
    normalized = apply(
        table.lazy(), FittedTable(features=features, label=LABEL, training_examples=1), label=CODES
    ).collect()
    assert normalized.schema == {"example_id": pl.Int64, "x": pl.Float32, "label": pl.Int32, "given_split": pl.String}
    assert normalized.row(0) == (7, 1.0, 0, "test")


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree_on_features_with_and_without_transforms(data, assert_chains_agree):
    numbers, categories = [[], [MEDIAN, {"kind": "standardize"}]], [[MOST_FREQUENT, {"kind": "one_hot"}]]
    assert_chains_agree(data, numbers=numbers, categories=categories)
