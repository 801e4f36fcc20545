"""What transforms are fitted to."""

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from components.errors import DataError
from components.examples.settings import CategoryFeature, CategoryLabel, ImageFeature, NumberFeature, NumberLabel
from components.transforms.fit import fit
from components.transforms.fitted import FittedImpute, FittedMinMax, FittedStandardize, FittedTable
from components.transforms.settings import MinMax, Standardize, Transform

LABEL = CategoryLabel(name="label", classes=("no", "yes"))


def fit_one(values, transforms, feature):
    table = pl.DataFrame({"x": values}).with_columns(label=pl.lit("no"))
    chain = TypeAdapter(tuple[Transform, ...]).validate_python(transforms)
    return fit(table.lazy(), features={"x": feature}, transforms={"x": chain}, label=LABEL).features["x"]


def test_standardize_takes_mean_and_population_deviation():
    fitted = fit_one([1.0, 2.0, 3.0, 6.0], [{"kind": "standardize"}], NumberFeature())
    assert fitted.transforms == (FittedStandardize(mean=3.0, standard_deviation=1.870829),)
    assert fitted.shape == (1,)


@pytest.mark.parametrize("value", [0.1, 1e30, -5.0, 0.0])
def test_a_constant_column_has_deviation_0(value):
    (fitted,) = fit_one([value] * 7, [{"kind": "standardize"}], NumberFeature()).transforms
    assert fitted.standard_deviation == 0
    assert fitted.mean == pytest.approx(value)


def test_numbers_that_float32_cannot_tell_apart_are_constant():
    (fitted,) = fit_one([1e9, 1e9 + 1, 1e9 + 2], [{"kind": "standardize"}], NumberFeature()).transforms
    assert fitted == FittedStandardize(mean=1e9, standard_deviation=0)


def test_min_max_takes_the_extremes():
    assert fit_one([3.0, -1.0, 2.0], [{"kind": "min_max"}], NumberFeature()).transforms == (
        FittedMinMax(minimum=-1, maximum=3),
    )


def test_standardize_after_impute_counts_the_filled_values():
    transforms = [{"kind": "impute", "strategy": "median", "indicator": True}, {"kind": "standardize"}]
    fitted = fit_one([1.0, None, 4.0, 4.0, None, 4.0], transforms, NumberFeature(nullable=True))
    assert fitted.transforms[0] == FittedImpute(value=4.0, indicator=True)
    assert fitted.transforms[1].mean == pytest.approx(3.5)
    assert fitted.shape == (2,)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", None, "b"], "b"),
        (["b", "a", "a", "b", None, None, None], "a"),  # a tie, and missing is no value
        (["b", "", "", ""], "b"),  # empty text is missing, as it is for a Keras model
    ],
)
def test_the_most_frequent_category_fills_and_of_equals_the_smallest(values, expected):
    transforms = [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "one_hot"}]
    fitted = fit_one(values, transforms, CategoryFeature(nullable=True))
    assert fitted.transforms[0].value == expected
    assert fitted.transforms[1].categories == tuple(sorted({value for value in values if value}))


def test_the_most_frequent_number_of_equals_is_the_smallest():
    transforms = [{"kind": "impute", "strategy": "most_frequent"}]
    assert fit_one([7.0, None, 3.0, 3.0, 7.0], transforms, NumberFeature(nullable=True)).transforms[0].value == 3.0


def test_scale_pixels_needs_no_statistics():
    images = pl.Series([[0, 16], [8, 4]], dtype=pl.Array(pl.UInt8, 2))
    fitted = fit_one(images, [{"kind": "scale_pixels"}], ImageFeature(height=1, width=2, maximum=16))
    assert fitted.transforms[0].maximum == 16
    assert fitted.shape == (1, 2, 1)


@pytest.mark.parametrize(
    ("values", "transforms", "feature"),
    [
        (pl.Series([None, None], dtype=pl.Float64), [{"kind": "impute", "strategy": "median"}], NumberFeature()),
        (
            pl.Series([None, ""]),
            [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "one_hot"}],
            CategoryFeature(),
        ),
        (pl.Series([None, ""]), [{"kind": "ordinal"}], CategoryFeature()),
    ],
)
def test_a_column_without_any_value_is_named(values, transforms, feature):
    with pytest.raises(DataError, match="x: missing in every training example"):
        fit_one(values, transforms, feature)


def test_numbers_too_large_for_float32_are_named():
    with pytest.raises(DataError, match=r"x: .* too large for float32"):
        fit_one([1e39, 0.0], [{"kind": "standardize"}], NumberFeature())


def test_no_training_rows_is_an_error():
    with pytest.raises(DataError, match="no training examples"):
        fit_one(pl.Series([], dtype=pl.Float64), [{"kind": "standardize"}], NumberFeature())


@pytest.mark.parametrize("transform", [Standardize(), MinMax(), None])
def test_statistics_come_back_from_json_as_they_were(transform):
    table = pl.DataFrame({"x": [1.0, 2.5], "y": [10.0, 30.0]}).lazy()
    fitted = fit(
        table,
        features={"x": NumberFeature()},
        transforms={"x": (Standardize(),)},
        label=NumberLabel(name="y", unit="m"),
        label_transform=transform,
    )
    assert FittedTable.model_validate_json(fitted.model_dump_json(indent=2)) == fitted
    assert (fitted.label_transform is None) == (transform is None)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_order_of_rows_does_not_matter(data):
    number = st.none() | st.floats(-1e6, 1e6, width=32)
    rows = data.draw(st.lists(st.tuples(number, st.sampled_from(["a", "b", "c"])), min_size=1, max_size=40))
    table = pl.DataFrame(rows, schema={"x": pl.Float64, "c": pl.String}, orient="row").with_columns(label=pl.lit("no"))
    assume(table["x"].null_count() < table.height)
    order = data.draw(st.permutations(range(table.height)))
    chains = {
        "x": [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "standardize"}],
        "c": [{"kind": "ordinal"}, {"kind": "standardize"}],
    }
    options = {
        "features": {"x": NumberFeature(nullable=True), "c": CategoryFeature()},
        "transforms": TypeAdapter(dict[str, tuple[Transform, ...]]).validate_python(chains),
        "label": LABEL,
    }
    assert fit(table.lazy(), **options) == fit(table[list(order)].lazy(), **options)
