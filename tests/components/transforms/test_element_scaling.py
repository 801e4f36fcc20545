"""Vectors scaled place by place: standardize_elements and min_max_elements."""

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.splits import assign_split
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.vector_feature import VectorFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedTable
from headrace.components.transforms.min_max_elements import FittedMinMaxElements, MinMaxElements
from headrace.components.transforms.schema_table import table_of_schema
from headrace.components.transforms.standardize_elements import FittedStandardizeElements, StandardizeElements

STANDARDIZE, MIN_MAX = {"kind": "standardize_elements"}, {"kind": "min_max_elements"}
LABEL = CategoryLabel(name="answer", classes=("no", "yes"))


def vectors(values):
    return pl.Series(values, dtype=pl.Array(pl.Float32, len(values[0])))


def test_each_place_is_fitted_by_itself(fit_one):
    values = vectors([[1, 5, -1], [3, 5, 1]])
    of = fit_one(values, [STANDARDIZE], VectorFeature(length=3))
    assert of.shape == (3,)
    assert of.transforms == (FittedStandardizeElements(means=(2, 5, 0), standard_deviations=(1, 0, 1)),)
    (scaled,) = fit_one(values, [MIN_MAX], VectorFeature(length=3)).transforms
    assert scaled == FittedMinMaxElements(minima=(1, 5, -1), maxima=(3, 5, 1))


def test_numbers_are_those_of_the_transform_of_one_number(fit_one, applied):
    values = np.random.default_rng(1).normal(3, 2, (50, 2)).astype(np.float32)
    places = [fit_one(values[:, place].tolist(), [{"kind": "standardize"}], NumberFeature()) for place in range(2)]
    together = fit_one(vectors(values.tolist()), [STANDARDIZE], VectorFeature(length=2))
    found = applied(vectors(values.tolist()), VectorFeature(length=2), *together.transforms, width=2).to_numpy()
    for place, of in enumerate(places):
        one = applied(values[:, place].tolist(), NumberFeature(), *of.transforms).to_numpy()
        np.testing.assert_array_equal(found[:, place], one)


def test_only_training_rows_count_and_shards_merge():
    rows = np.arange(400, dtype=np.float32).reshape(200, 2)
    table = pl.DataFrame({"example_id": pl.Series(range(200), dtype=pl.UInt64), "x": vectors(rows.tolist())})
    split = Split(validation_fraction=0.3, test_fraction=0.2)
    shards = []
    for part in (table[:70], table[70:]):
        part.write_parquet(content := io.BytesIO())
        shards.append(content.getvalue())
    found = fit(
        shards,
        split=split,
        features={"x": VectorFeature(length=2)},
        transforms={"x": (MinMaxElements(),)},
        label=LABEL,
    ).features["x"]
    training = table.filter(assign_split(split, columns=table.columns) == "train")["x"].to_numpy()
    assert 0 < len(training) < 200
    expected = FittedMinMaxElements(minima=tuple(training.min(axis=0)), maxima=tuple(training.max(axis=0)))
    assert found.transforms == (expected,)


def test_a_place_that_float32_can_not_hold_is_named(fit_one):
    with pytest.raises(DataError, match=r"x\[1\]: training values .* too large for float32"):
        fit_one(vectors([[1, 3e38], [2, -3e38]]), [STANDARDIZE], VectorFeature(length=2))


@pytest.mark.parametrize(
    "chain", [[{"kind": "standardize"}], [{"kind": "one_hot"}], [STANDARDIZE, {"kind": "ordinal"}]]
)
def test_what_is_for_other_features_is_refused(check_one, chain):
    with pytest.raises(ParamsError, match="possible are: standardize_elements, min_max_elements"):
        check_one({"type": "vector", "length": 3}, chain)
    with pytest.raises(ParamsError, match="standardize_elements can't be applied to a number"):
        check_one({"type": "number"}, [STANDARDIZE])


def test_statistics_are_read_as_they_were_written(fit_one):
    of = fit_one(vectors([[1, 2], [3, 4]]), [STANDARDIZE, MIN_MAX], VectorFeature(length=2))
    table = FittedTable(features={"x": of}, label=LABEL, training_examples=2)
    assert TypeAdapter(FittedTable).validate_json(table.model_dump_json()) == table


def test_shapes_are_known_before_there_is_data():
    features = {"x": VectorFeature(length=4)}
    found = table_of_schema(features, transforms={"x": (StandardizeElements(),)}, label=LABEL)
    assert found is not None and found.features["x"].shape == (4,)


@settings(deadline=None, max_examples=5)
@given(
    st.lists(st.lists(st.floats(-100, 100, width=32, allow_subnormal=False), min_size=3, max_size=3), min_size=2),
    st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_both_forms_agree(assert_forms_agree, rows, scale):
    table = pl.DataFrame({name: vectors((np.float32(scale) * np.float32(rows)).tolist()) for name in "ab"})
    features = dict.fromkeys("ab", VectorFeature(length=3))
    assert_forms_agree(table, table, features, {"a": [STANDARDIZE], "b": [MIN_MAX, STANDARDIZE]})
