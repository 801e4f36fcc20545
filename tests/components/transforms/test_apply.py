"""Fitted transforms on a table."""

import polars as pl

from headrace.components.examples.settings import (
    CategoryFeature,
    CategoryLabel,
    ImageFeature,
    NumberFeature,
    NumberLabel,
)
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fitted_transforms import (
    FittedFeature,
    FittedImpute,
    FittedMinMax,
    FittedOneHot,
    FittedOrdinal,
    FittedScalePixels,
    FittedStandardize,
    FittedTable,
)

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))


def applied(values, feature, *transforms, width=1, dtype=None):
    table = pl.DataFrame({"x": pl.Series(values, dtype=dtype)}).with_columns(
        example_id=pl.int_range(pl.len(), dtype=pl.UInt64), answer=pl.lit("yes")
    )
    of = FittedFeature(feature=feature, transforms=transforms, shape=(width,))
    return apply(table.lazy(), FittedTable(features={"x": of}, label=LABEL, training_examples=1)).collect()["x"]


def test_standardize_subtracts_then_divides():
    x = applied([1.0, 3.0, 5.0], NumberFeature(), FittedStandardize(mean=3, standard_deviation=2))
    assert x.dtype == pl.Float32
    assert x.to_list() == [-1, 0, 1]


def test_a_constant_column_becomes_0_whatever_else_comes_later():
    assert applied([3.0, 9.0], NumberFeature(), FittedStandardize(mean=3, standard_deviation=0)).to_list() == [0, 0]
    assert applied([3.0, 9.0], NumberFeature(), FittedMinMax(minimum=3, maximum=3)).to_list() == [0, 0]


def test_min_max_does_not_clip():
    x = applied([0.0, 2.0, 5.0], NumberFeature(), FittedMinMax(minimum=0, maximum=4))
    assert x.to_list() == [0, 0.5, 1.25]


def test_an_imputed_number_has_its_indicator_last_and_untransformed():
    impute, standardize = FittedImpute(value=4.0, indicator=True), FittedStandardize(mean=2, standard_deviation=2)
    x = applied([None, 0.0, float("nan")], NumberFeature(nullable=True), impute, standardize, width=2)
    assert x.dtype == pl.Array(pl.Float32, 2)
    assert x.to_list() == [[1, 1], [-1, 0], [1, 1]]


def test_one_hot_has_a_first_column_for_other_and_missing():
    x = applied(["b", "?", None, "a"], CategoryFeature(), FittedOneHot(categories=("a", "b")), width=3)
    assert x.to_list() == [[0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_an_imputed_category_goes_to_its_value_and_has_its_indicator_last():
    impute = FittedImpute(value="b", indicator=True)
    x = applied(["?", None, ""], CategoryFeature(), impute, FittedOneHot(categories=("a", "b")), width=4)
    assert x.to_list() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_ordinal_counts_from_1_with_0_for_other():
    x = applied(["b", "?", None, "a"], CategoryFeature(), FittedOrdinal(categories=("a", "b")))
    assert x.to_list() == [2, 0, 0, 1]


def test_scale_pixels_keeps_images_flat():
    image = ImageFeature(height=1, width=2, maximum=16)
    x = applied([[0, 16], [8, 4]], image, FittedScalePixels(maximum=16), width=2, dtype=pl.Array(pl.UInt8, 2))
    assert x.dtype == pl.Array(pl.Float32, 2)
    assert x.to_list() == [[0, 1], [0.5, 0.25]]


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
