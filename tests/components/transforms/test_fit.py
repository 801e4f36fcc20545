"""What transforms are fitted to."""

import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.components.errors import DataError
from headrace.components.examples.splits import assign_split
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.schema.split_settings import Split
from headrace.components.statistics.sketch import value_at
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedTable
from headrace.components.transforms.impute import FittedImpute, Impute
from headrace.components.transforms.min_max import FittedMinMax, MinMax
from headrace.components.transforms.standardize import Standardize
from headrace.components.transforms.training_rows import Column, count_shard, summarize_shard
from headrace.components.transforms.variants import AnyTransform

LABEL = CategoryLabel(name="label", classes=("no", "yes"))
ALL = Split(validation_fraction=0)


def shard(table):
    """The table as a Parquet file's content."""
    content = io.BytesIO()
    table.with_columns(example_id=pl.int_range(pl.len(), dtype=pl.UInt64)).write_parquet(content)
    return content.getvalue()


@pytest.mark.parametrize("chain", [[{"kind": "standardize"}], []])
def test_no_training_rows_is_an_error(chain, fit_one):
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
        "transforms": TypeAdapter(dict[str, tuple[AnyTransform, ...]]).validate_python(chains),
        "label": LABEL,
        "map_files": in_order,
    }
    whole = fit([shard(table)], **options)
    parts = fit([shard(shuffled[:cut]), shard(shuffled[cut:])], **options)
    assert parts.model_dump_json() == whole.model_dump_json()
    median = np.float32(table["m"].drop_nulls().cast(pl.Float32).cast(pl.Float64).median())
    assert whole.features["m"].transforms[0].value == median


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


def test_a_median_is_of_what_the_transforms_before_give():
    table = pl.DataFrame({"x": [1.0, None, 3.0], "label": "no"})
    columns = {"x": Column(NumberFeature(nullable=True), (FittedImpute(value=9.0, indicator=False),), "sketch")}
    sketch = summarize_shard(shard(table), split=ALL, columns=columns).columns["x"].sketch
    (place,) = sketch.bins_at([2])
    assert value_at(2, sketch, count_shard(shard(table), split=ALL, columns=columns, bins={"x": [place]})["x"]) == 9.0
