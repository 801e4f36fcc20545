"""Fitted transforms on a table."""

import polars as pl

from headrace.components.examples.settings import (
    CategoryLabel,
    NumberFeature,
    NumberLabel,
)
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fitted_transforms import FittedFeature, FittedTable
from headrace.components.transforms.min_max import FittedMinMax

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))


def test_only_named_features_and_the_given_split_are_kept():
    table = pl.DataFrame({"x": [1.0], "unused": [2.0], "example_id": [7], "answer": ["yes"], "given_split": ["test"]})
    features = {"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))}
    normalized = apply(table.lazy(), FittedTable(features=features, label=LABEL, training_examples=1)).collect()
    assert normalized.schema == {"example_id": pl.Int64, "x": pl.Float32, "label": pl.Int32, "given_split": pl.String}
    assert normalized.row(0) == (7, 1.0, 1, "test")


def test_a_number_label_is_transformed():
    table = pl.DataFrame({"x": [1.0, 1.0], "example_id": [7, 8], "distance": [10.0, 30.0]})
    fitted = FittedTable(
        features={"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
        label=NumberLabel(name="distance"),
        label_transform=FittedMinMax(minimum=10, maximum=20),
        training_examples=2,
    )
    label = apply(table.lazy(), fitted).collect()["label"]
    assert label.dtype == pl.Float32
    assert label.to_list() == [0, 2]
