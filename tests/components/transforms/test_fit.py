"""What transforms are fitted to."""

import io
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.components.errors import DataError
from headrace.components.examples.settings import (
    CategoryFeature,
    CategoryLabel,
    ImageFeature,
    NumberFeature,
    NumberLabel,
)
from headrace.components.examples.split_settings import Split
from headrace.components.examples.splits import assign_split
from headrace.components.transforms import training_rows
from headrace.components.transforms.apply import raw_values, transformed
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_transforms import FittedImpute, FittedMinMax, FittedStandardize, FittedTable
from headrace.components.transforms.settings import Impute, MinMax, Standardize, Transform

LABEL = CategoryLabel(name="label", classes=("no", "yes"))
ALL = Split(validation_fraction=0)


def shard(table):
    """The table as a Parquet file's content."""
    content = io.BytesIO()
    table.with_columns(example_id=pl.int_range(pl.len(), dtype=pl.UInt64)).write_parquet(content)
    return content.getvalue()


def fit_one(values, transforms, feature):
    table = pl.DataFrame({"x": values}).with_columns(label=pl.lit("no"))
    chain = TypeAdapter(tuple[Transform, ...]).validate_python(transforms)
    fitted = fit([shard(table)], split=ALL, features={"x": feature}, transforms={"x": chain}, label=LABEL)
    return fitted.features["x"]


def test_standardize_takes_mean_and_population_deviation():
    fitted = fit_one([1.0, 2.0, 3.0, 6.0], [{"kind": "standardize"}], NumberFeature())
    assert fitted.transforms == (FittedStandardize(mean=3.0, standard_deviation=math.sqrt(3.5)),)
    assert fitted.shape == (1,)


@pytest.mark.parametrize("value", [0.1, 1e30, -5.0, 0.0])
def test_a_constant_column_has_deviation_0(value):
    (fitted,) = fit_one([value] * 7, [{"kind": "standardize"}], NumberFeature()).transforms
    assert fitted.standard_deviation == 0
    assert fitted.mean == pytest.approx(value)


def test_numbers_that_float32_cannot_distinguish_are_constant():
    (fitted,) = fit_one([1e9, 1e9 + 1, 1e9 + 2], [{"kind": "standardize"}], NumberFeature()).transforms
    assert fitted == FittedStandardize(mean=1e9, standard_deviation=0)


@pytest.mark.parametrize("values", [[1e-38, 2e-38, 3e-38], [0.0] * 9_999 + [2e-30]])
def test_what_float32_has_no_room_to_divide_by_is_no_spread(values):
    """Its inverse, or the square of that, is infinite."""
    (fitted,) = fit_one(values, [{"kind": "standardize"}], NumberFeature()).transforms
    assert (fitted.mean, fitted.standard_deviation) == (pytest.approx(values[0], rel=1e-6), 0)


def test_so_is_it_for_min_max():
    (fitted,) = fit_one([1e-38, 2e-38, 3e-38], [{"kind": "min_max"}], NumberFeature()).transforms
    assert fitted.minimum == fitted.maximum == pytest.approx(1e-38, rel=1e-6)


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


@pytest.mark.parametrize("strategy", ["median", "most_frequent"])
def test_no_infinity_is_filled_in(strategy):
    with pytest.raises(DataError, match=r"x: .* too large for float32"):
        fit_one([1e39, 1e39, None], [{"kind": "impute", "strategy": strategy}], NumberFeature(nullable=True))


@pytest.mark.parametrize("chain", [[{"kind": "standardize"}], []])
def test_no_training_rows_is_an_error(chain):
    with pytest.raises(DataError, match="no training examples"):
        fit_one(pl.Series([], dtype=pl.Float64), chain, NumberFeature())


@pytest.mark.parametrize("transform", [Standardize(), MinMax(), None])
def test_statistics_come_back_from_json_as_they_were(transform):
    table = pl.DataFrame({"x": [1.0, 2.5], "y": [10.0, 30.0]})
    fitted = fit(
        [shard(table)],
        split=ALL,
        features={"x": NumberFeature()},
        transforms={"x": (Standardize(),)},
        label=NumberLabel(name="y", unit="m"),
        label_transform=transform,
    )
    assert FittedTable.model_validate_json(fitted.model_dump_json(indent=2)) == fitted
    assert (fitted.label_transform is None) == (transform is None)


def in_order(function, items):
    return map(function, items)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_same_rows_in_any_order_and_any_shards_give_the_same_bytes(data):
    number = st.none() | st.floats(-1e6, 1e6, width=32)
    rows = data.draw(st.lists(st.tuples(number, number, st.sampled_from(["a", "b", "c"])), min_size=1, max_size=40))
    schema = {"x": pl.Float64, "m": pl.Float64, "c": pl.String}
    table = pl.DataFrame(rows, schema=schema, orient="row").with_columns(label=pl.lit("no"))
    assume(all(table[name].null_count() < table.height for name in "xm"))
    shuffled = table[list(data.draw(st.permutations(range(table.height))))]
    cut = data.draw(st.integers(0, table.height))
    chains = {
        "x": [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "standardize"}],
        "m": [{"kind": "impute", "strategy": "median"}, {"kind": "standardize"}],
        "c": [{"kind": "ordinal"}, {"kind": "standardize"}],
    }
    options = {
        "split": ALL,
        "features": {"x": NumberFeature(nullable=True), "m": NumberFeature(nullable=True), "c": CategoryFeature()},
        "transforms": TypeAdapter(dict[str, tuple[Transform, ...]]).validate_python(chains),
        "label": LABEL,
        "map_files": in_order,
    }
    whole = fit([shard(table)], **options)
    parts = fit([shard(shuffled[:cut]), shard(shuffled[cut:])], **options)
    assert parts.model_dump_json() == whole.model_dump_json()
    median = np.float32(table["m"].drop_nulls().cast(pl.Float32).cast(pl.Float64).median())
    assert whole.features["m"].transforms[0].value == median


@pytest.mark.parametrize(
    "chain",
    [
        [{"kind": "impute", "strategy": "median"}, {"kind": "standardize"}],
        [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "standardize"}],
        [{"kind": "impute", "strategy": "median"}, {"kind": "min_max"}, {"kind": "standardize"}],
    ],
)
def test_what_is_known_without_reading_again_is_what_reading_again_would_give(chain):
    values = pl.Series([0.1, None, 2.5, 2.5, float("nan"), -7.0], dtype=pl.Float64)
    *before, last = fit_one(values, chain, NumberFeature(nullable=True)).transforms
    given = apply_chain(values, before)
    assert last == fit_one(given, chain[-1:], NumberFeature()).transforms[0]


def apply_chain(values, fitted):
    feature = NumberFeature(nullable=True)
    expression = raw_values("x", feature)
    for one in fitted:
        expression = transformed(expression, one, feature)
    return pl.DataFrame({"x": values}).select(expression).to_series()


def test_ranks_are_standardized_with_0_for_the_missing():
    fitted = fit_one(["b", None, "a", "b"], [{"kind": "ordinal"}, {"kind": "standardize"}], CategoryFeature())
    assert fitted.transforms[1].mean == (2 + 0 + 1 + 2) / 4


def test_too_many_different_values_are_refused(monkeypatch):
    monkeypatch.setattr(training_rows, "MOST_CATEGORIES", 2)
    with pytest.raises(DataError, match="x: more than 2 different values"):
        fit_one(["a", "b", "c"], [{"kind": "one_hot"}], CategoryFeature())


def test_shards_may_be_read_in_other_processes(tmp_path):
    table = pl.DataFrame({"x": [1.0, None, 2.5, 9.0], "label": ["no", "yes", "no", "yes"]})
    (tmp_path / "part.parquet").write_bytes(shard(table))
    options = {
        "split": ALL,
        "features": {"x": NumberFeature(nullable=True)},
        "transforms": {"x": (Impute(strategy="median"), Standardize())},
        "label": LABEL,
    }
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = fit([tmp_path / "part.parquet", shard(table)], **options, map_files=pool.map)
    assert elsewhere == fit([shard(table)] * 2, **options)


def test_only_rows_that_the_split_sends_to_training_are_seen():
    table = pl.DataFrame({"x": [1.0, 3.0, 1e9], "label": "no", "given_split": ["train", "train", "test"]})
    options = {"features": {"x": NumberFeature()}, "transforms": {"x": (MinMax(),)}, "label": LABEL}
    fitted = fit([shard(table[:1]), shard(table[1:])], split=ALL, **options)
    assert fitted.training_examples == 2
    assert fitted.features["x"].transforms == (FittedMinMax(minimum=1, maximum=3),)


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_no_row_that_a_share_holds_out_is_seen(held_out):
    split = Split.model_validate({"validation_fraction": 0, f"{held_out}_fraction": 0.5})
    ids = pl.DataFrame({"example_id": pl.int_range(50, dtype=pl.UInt64, eager=True)})
    assigned = ids.select(assign_split(split, columns=ids.columns)).to_series()
    assert set(assigned) == {"train", held_out}
    table = pl.DataFrame({"x": [2.0 if one == "train" else 1e9 for one in assigned], "label": "no"})
    options = {"features": {"x": NumberFeature()}, "transforms": {"x": (MinMax(),)}, "label": LABEL}
    fitted = fit([shard(table)], split=split, **options)
    assert fitted.training_examples == (assigned == "train").sum()
    assert fitted.features["x"].transforms == (FittedMinMax(minimum=2, maximum=2),)
