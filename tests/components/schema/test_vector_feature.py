"""Lists of numbers in one column: from a source's values to what transforms and models take."""

import io
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.examples.identity import example_ids
from headrace.components.examples.validation import check_part, describe
from headrace.components.schema.arrow_schema import arrow_schema
from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.schema.feature_types.vector_feature import VectorFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.serving_model.model_inputs import model_inputs
from headrace.components.serving_model.prediction_rows import rows_of, warn_of
from headrace.components.sources.arrow_columns import arrow_blocks
from headrace.components.sources.json_lines import json_blocks
from headrace.components.sources.raw_part import RawPart
from headrace.components.statistics.profile import profile

THREE = VectorFeature(length=3)
LABEL = CategoryLabel(name="kind", classes=("a", "b"))


def checked(values: list, feature: VectorFeature = THREE, dtype: pl.DataType | None = None):
    part = RawPart(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), {"x": "rows"})
    return check_part(part, RowSchema(features={"x": feature}))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[1.0, 2.5, -3.0]], pl.List(pl.Float64)),
        ([[1.0, 2.5, -3.0]], pl.Array(pl.Float32, 3)),
        (["[1, 2.5, -3]"], pl.String),
        ([" [1.0,2.5e0 , -3]\n"], pl.String),
    ],
)
def test_lists_of_any_source_are_the_same_array(values, dtype):
    rows = checked(values, dtype=dtype)
    assert rows.rejected.is_empty()
    assert rows.typed.schema == {"x": pl.Array(pl.Float32, 3)}
    assert rows.typed["x"].to_list() == [[1.0, 2.5, -3.0]]


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (None, pl.List(pl.Float64), "expected a list of 3 numbers, found nothing"),
        ([1.0, 2.0], pl.List(pl.Float64), "expected a list of 3 numbers, found [1.0, 2.0]"),
        ([1.0, None, 2.0], pl.List(pl.Float64), "expected a list of 3 numbers, found [1.0, null, 2.0]"),
        ([1.0, float("nan"), 2.0], pl.List(pl.Float64), "expected finite numbers, found [1.0, NaN, 2.0]"),
        ([1.0, 1e300, 2.0], pl.List(pl.Float64), "expected finite numbers, found [1.0, 1e+300, 2.0]"),
        ([1, 2], pl.Array(pl.Int64, 2), "expected a list of 3 numbers, found [1, 2]"),
        ("[1, 2]", pl.String, "expected a list of 3 numbers, found '[1, 2]'"),
        ("1, 2, 3", pl.String, "expected a list of 3 numbers, found '1, 2, 3'"),
        ("[1, two, 3]", pl.String, "expected a list of 3 numbers, found '[1, two, 3]'"),
        ("[[1], 2, 3]", pl.String, "expected a list of 3 numbers, found '[[1], 2, 3]'"),
        ("[1, 2, inf]", pl.String, "expected finite numbers, found '[1, 2, inf]'"),
        ("[]", pl.String, "expected a list of 3 numbers, found '[]'"),
    ],
)
def test_a_row_whose_list_does_not_fit_is_rejected_with_its_reason(value, dtype, said):
    good = "[1, 2, 3]" if dtype == pl.String else [1.0, 2.0, 3.0]
    if isinstance(dtype, pl.Array):
        rows = checked([value], dtype=dtype)
    else:
        rows = checked([good, value], dtype=dtype)
        assert rows.typed["x"].to_list() == [[1.0, 2.0, 3.0]]
    assert describe(rows.rejected.row(0, named=True)).endswith(said)


def test_a_range_holds_for_each_value_and_is_only_warned_of_in_predictions():
    feature = VectorFeature(length=2, minimum=0, maximum=1)
    rows = checked([[0.0, 1.0], [0.5, 1.5], [-0.5, 0.5]], feature)
    assert [row["expected"] for row in rows.rejected.iter_rows(named=True)] == ["numbers from 0 to 1"] * 2
    said: list[str] = []
    warn_of(checked([[0.0, 1.0], [0.5, 1.5]], feature.without_limits()).typed, {"x": feature}, warn=said.append)
    assert said == ["column 'x': 1 of 2 lists have values outside of 0 to 1"]


def test_ids_follow_from_values_and_their_places():
    def ids(*lists):
        return example_ids(pl.DataFrame({"x": pl.Series(lists, dtype=pl.Array(pl.Float32, 2))}), columns=["x"]).tolist()

    same, swapped, signed, again = ids([1, 2], [2, 1], [-0.0, 0.0], [1, 2])
    assert same == again != swapped
    assert signed == ids([0, 0])[0]
    assert same == 17314193974131908821  # an id is the same in ten years


def test_parquet_and_json_give_lists_and_another_type_is_named(tmp_path):
    schema = ExampleSchema(features={"x": THREE}, label=LABEL)
    for dtype in (pa.list_(pa.float32()), pa.list_(pa.int64(), 3), pa.large_list(pa.float16())):
        batch = pa.record_batch({"x": pa.array([[1, 2, 3]], dtype), "kind": pa.array(["a"])})
        [block] = arrow_blocks(
            [batch], batch.schema, path=tmp_path / "rows", schema=schema, given_split=None, reported=_as_it_is
        )
        assert check_part(block, schema).typed["x"].to_list() == [[1.0, 2.0, 3.0]]
    for lists in (["[1, 2.5, 3]"] * 2, ["[1, 2.5, 3]", '[1, "x", 3]'], ["null", "[[1], {}, 2]"]):
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(f'{{"x": {one}, "kind": "a"}}\n' for one in lists))
        [block] = json_blocks(file, columns=schema.source_columns, lists=schema.list_columns)
        rows = check_part(block.read(), schema)
        assert rows.typed["x"].to_list() == [json.loads(one) for one in lists if one == "[1, 2.5, 3]"]


def _as_it_is(_):
    from contextlib import nullcontext

    return nullcontext()


def test_its_column_its_profile_and_what_a_model_takes():
    field = arrow_schema(ExampleSchema(features={"x": THREE}, label=LABEL), given_split=False).field("x")
    assert field.type == pa.list_(pa.float32(), 3) and not field.nullable
    table = pl.DataFrame({"x": pl.Series([[1, 2, 3], [4, 5, 6]], dtype=pl.Array(pl.Float32, 3))})
    found = profile(table.lazy(), features={"x": THREE})["x"]
    assert (found.type, found.rows, found.minimum, found.maximum, found.mean) == ("number", 6, 1, 6, 3.5)
    given = model_inputs(table, features={"x": THREE})["x"]
    assert given.dtype == np.float32 and given.tolist() == [[1, 2, 3], [4, 5, 6]]
    known, asked = THREE.simple_values(table["x"], table["x"][:1])
    np.testing.assert_allclose(known, [[-1, -1, -1], [1, 1, 1]])
    np.testing.assert_allclose(asked, [[-1, -1, -1]])


def test_rows_of_params_may_have_lists_or_text():
    rows = rows_of([{"x": [1, 2, 3]}, {"x": "[4, 5, 6]"}], {"x": THREE}, warn=lambda _: None)
    assert rows["x"].to_list() == [[1, 2, 3], [4, 5, 6]]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=4), min_size=1))
def test_text_gives_what_the_list_gives(lists):
    texts = checked([json.dumps(one) for one in lists])
    values = checked(lists, dtype=pl.List(pl.Float32))
    assert texts.typed.equals(values.typed)
    assert texts.rejected["row"].to_list() == [row for row, one in enumerate(lists, start=1) if len(one) != 3]


def test_what_was_written_is_read_again():
    table = checked([[1.0, 2.0, 3.0]]).typed
    table.write_parquet(content := io.BytesIO())
    assert pl.read_parquet(content.getvalue()).equals(table)
