"""Examples that a program gives: converted as Keras converts them, and the same after a way through a file."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.components.errors import DataError
from headrace.components.training.feeding.given_data import given_columns, read_given, write_given
from headrace.components.training.feeding.split_arrays import Columns

ROWS = 5


def through_file(columns: Columns, folder: Path) -> Columns:
    write_given(columns, folder / "examples.arrow")
    return read_given(folder / "examples.arrow")


@settings(deadline=None, max_examples=50)
@given(
    array=arrays.arrays(
        st.sampled_from([np.float32, np.int64, np.uint8, np.bool_, np.float16]),
        st.tuples(st.just(3), st.integers(1, 3), st.integers(1, 2)),
    )
)
def test_arrays_of_numbers_are_the_same_bits(array, tmp_path_factory):
    found = through_file(given_columns((array, array[:, 0])), tmp_path_factory.mktemp("data"))

    assert found.features.dtype == array.dtype
    assert found.features.tobytes() == array.tobytes()
    np.testing.assert_array_equal(found.labels, array[:, 0])


def test_dicts_and_tuples_keep_their_form(tmp_path):
    x, names = np.zeros((ROWS, 2)), np.array(["a", "", "ü", "d", "e"])
    data = ({"x": x, "pair": (x[:, 0], names)}, (np.arange(ROWS), x), np.arange(ROWS))

    found = through_file(given_columns(data), tmp_path)

    assert list(found.features) == ["x", "pair"]
    assert found.features["x"].dtype == np.float32  # as Keras converts float64
    assert list(found.features["pair"][1]) == list(names)
    assert [array.dtype for array in found.labels] == [np.int64, np.float32]
    assert found.weights.dtype == np.float32
    assert found.examples == ROWS


@pytest.mark.parametrize("kind", ["dict", "polars", "arrow", "file", "folder"])
def test_of_a_table_columns_are_features_by_name(kind, tmp_path):
    table = pl.DataFrame({"age": [1.5, 2.0], "sex": ["f", "m"], "y": [0, 1], "w": [1.0, 3.0]})
    (tmp_path / "parts").mkdir()
    table.write_parquet(tmp_path / "parts" / "0.parquet")
    data = {
        "dict": table.to_dict(as_series=False),
        "polars": table,
        "arrow": table.to_arrow(),
        "file": tmp_path / "parts" / "0.parquet",
        "folder": str(tmp_path / "parts"),
    }[kind]

    found = through_file(given_columns(data, label="y", weight="w"), tmp_path)

    assert list(found.features) == ["age", "sex"]
    assert list(found.features["sex"]) == ["f", "m"]
    assert list(found.labels) == [0, 1]
    assert list(found.weights) == [1.0, 3.0]


def test_lists_of_several_lengths_are_ragged(tmp_path):
    table = pl.DataFrame({"words": [[1, 2, 3], [], [4]], "y": [0, 1, 0]})

    found = through_file(given_columns(table, label="y"), tmp_path)

    assert found.features["words"].to_list() == [[1, 2, 3], [], [4]]


X, Y = np.zeros((ROWS, 2)), np.zeros(ROWS)


@pytest.mark.parametrize(
    ("data", "label", "said"),
    [
        ((X,), None, "found a tuple of 1"),
        ((X, Y), "y", "label=, which is for tables"),
        ((X, Y[:3]), None, "one length, found 3, 5 examples"),
        ((X[:0], Y[:0]), None, "at least one example"),
        ((np.array([object()] * ROWS), Y), None, "a value of type object"),
        ((np.array(["a", None, "c", "d", "e"], object), Y), None, "a value of type NoneType"),
        ((X.astype(complex), Y), None, "found an array of complex128"),
        ({"x": X}, None, "a table needs label="),
        ({"x": X, "answer": Y}, "answr", "did you mean 'answer'"),
        (pl.DataFrame({"x": [1, None], "y": [0, 1]}), "y", "'x' has 1 missing values"),
        (pl.DataFrame({"x": [[1, None], [2]], "y": [0, 1]}), "y", "a list is missing, or a value within one"),
        (pl.DataFrame({"x": [["a"], ["b"]], "y": [0, 1]}), "y", "expected lists of numbers"),
        ("nowhere", "y", "a folder of such files, found nowhere"),
        (7, None, "found int"),
    ],
)
def test_what_no_model_takes_is_refused_by_name(data, label, said):
    with pytest.raises(DataError) as refused:
        given_columns(data, label=label, name="validation")

    assert said in str(refused.value)
    assert str(refused.value).startswith("validation")


def test_a_chunked_arrow_column_is_one(tmp_path):
    words = pa.chunked_array([[[1]], [[2, 3]]])
    data = pa.table({"words": words, "y": pa.array([0, 1])})

    assert through_file(given_columns(data, label="y"), tmp_path).features["words"].to_list() == [[1], [2, 3]]
