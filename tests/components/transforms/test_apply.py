"""Fitted transforms on a table."""

import polars as pl

from headrace.components.schema.features import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fitted_transforms import FittedFeature, FittedTable

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))
CODES = pl.lit(0, pl.Int32)  # the label as its task has it


def test_only_named_features_and_the_given_split_are_kept():
    table = pl.DataFrame({"x": [1.0], "unused": [2.0], "example_id": [7], "answer": ["yes"], "given_split": ["test"]})
    features = {"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))}
    normalized = apply(
        table.lazy(), FittedTable(features=features, label=LABEL, training_examples=1), label=CODES
    ).collect()
    assert normalized.schema == {"example_id": pl.Int64, "x": pl.Float32, "label": pl.Int32, "given_split": pl.String}
    assert normalized.row(0) == (7, 1.0, 0, "test")
