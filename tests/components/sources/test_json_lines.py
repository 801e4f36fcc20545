"""JSON lines: read as they are written, the same by Arrow as by Python, or refused by file and row."""

import gzip
import json

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples.example_blocks import prepare
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources import json_lines
from headrace.components.sources.json_lines import JsonBlock, json_blocks
from headrace.components.sources.raw_part import RowError

SCHEMA = ExampleSchema.model_validate(
    {
        "features": {"x": {"type": "number", "nullable": True}},
        "label": {"type": "category", "name": "kind", "classes": ["a", "1"]},
        "key": ["id"],
    }
)


def read(tmp_path, content: bytes, *, numbers=(), block_bytes=1 << 25) -> pl.DataFrame:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    blocks = json_blocks(path, columns=("id", "x"), block_bytes=block_bytes)
    return pl.concat(block.read(numbers=numbers).table for block in blocks)


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": "a", "x": "1.50"}\n{"id": "b"}\n',
        b'{"id": "a", "x": 1.50}\r\n{"x": null, "id": "b"}\r\n',
        b'\xef\xbb\xbf{"id": "a", "x": 1.50}\n\n  \n{"id": "b"}',  # a byte order mark, empty lines, no line end
        b'{"y": [{"z": NaN}], "y": 2, "id": "a", "x": 1.50}\n{"id": "b"}\n',  # keys that are no features, even twice
        b'\t{"id": "\\u0061", "x": 1.50}  \n{"id": "b"}\n',
    ],
)
def test_values_are_read_as_they_are_written(tmp_path, content) -> None:
    assert read(tmp_path, content).rows() == [("a", "1.50"), ("b", None)]
    assert read(tmp_path, gzip.compress(content)).rows() == [("a", "1.50"), ("b", None)]
    assert read(tmp_path, pa.compress(content, "zstd", asbytes=True)).rows() == [("a", "1.50"), ("b", None)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12345678901234567890", "12345678901234567890"),
        ("-0", "0"),
        ("007", None),  # no JSON
        ("1.0", "1.0"),
        ("1E400", "1E400"),
        ("NaN", "NaN"),  # no JSON either, but Python and pandas write it: the schema says whether it may be
        ("-Infinity", "-Infinity"),
        ("true", "true"),
        ('"true"', "true"),
        ('"a\\nb\\u0000"', "a\nb\0"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\ud83d"', None),
        ("[1]", None),
        ('{"z": 1}', None),
        ('"a\tb"', None),
    ],
)
def test_a_value_is_kept_to_the_last_digit_or_refused(tmp_path, value, expected) -> None:
    content = b'{"id": 1, "x": 2}\n{"id": 1, "x": %s}\n' % value.encode()
    if expected is None:
        with pytest.raises(RowError, match=r"rows\.jsonl, row 2"):
            read(tmp_path, content)
    else:
        assert read(tmp_path, content)["x"].to_list() == ["2", expected]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[1, 2]", "expected one object a line, found a list"),
        (b"5", "expected one object a line, found '5'"),
        (b'"text"', "expected one object a line, found 'text'"),
        (b"null", "expected one object a line, found None"),
        (b'{"id": 1', r"not a JSON object \(Expecting ',' delimiter, character"),
        (b'{"id": 1}{"id": 2}', r"not a JSON object \(Extra data, character 10"),
        (b'{"id": 1,}', "not a JSON object"),
        (b"{'id': 1}", "not a JSON object"),
        (b"id,x", "not a JSON object"),
        (b'{"id": 1, "x": 2, "x": 2}', "key 'x' comes 2 times"),
        (b'{"id": "\xff"}', "expected UTF-8 text, found other bytes"),
        (b'\xef\xbb\xbf{"id": 1}', "not a JSON object"),  # a mark may only begin the file
        (b'{"id": ' + b"[" * 100_000, "lists or objects in each other without end"),
        (b'{"id": 1}\x00', "not a JSON object"),
    ],
)
def test_a_line_that_is_no_object_is_reported_by_its_row(tmp_path, line, problem) -> None:
    good = b'{"id": 1}\n'
    for block_bytes in (1 << 25, 4):  # row 3, whether in the first block or in one of its own
        path = tmp_path / "rows.jsonl"
        path.write_bytes(good + b"\n" + good + line + b"\n" + good)
        rows = 0
        with pytest.raises(RowError, match=problem) as error:
            for block in json_blocks(path, columns=("id", "x"), block_bytes=block_bytes):
                try:
                    rows += block.read().table.height
                except RowError as found:
                    raise found.after(rows) from found
        assert (error.value.file, error.value.row) == ("rows.jsonl", 3)


def test_a_line_that_is_too_long_is_not_held_in_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_ROW_BYTES", 1000)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": "' + b"x" * 100_000 + b'"}\n')
    blocks = list(json_blocks(path, columns=("id",), block_bytes=100))
    assert sum(len(block.content) for block in blocks) < 2000
    with pytest.raises(RowError, match="row 1: longer than 1000 bytes"):
        blocks[-1].read()


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
def test_an_empty_file_is_refused(tmp_path, content) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl has no rows"):
        read(tmp_path, content)


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)


@given(st.lists(st.fixed_dictionaries({}, optional={"id": scalars, "x": scalars, "y": scalars}), min_size=1))
@settings(max_examples=100, deadline=None)
def test_arrow_and_python_read_the_same(tmp_path_factory, rows) -> None:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    block = JsonBlock(content, "rows.jsonl", ("id", "x"))
    if any(0xD800 <= ord(one) <= 0xDFFF for row in rows for value in row.values() for one in str(value)):
        return
    python = json_lines._read_by_python(block)
    assert block.read().table.rows() == python.rows()
    cut = read(tmp_path_factory.getbasetemp(), content, block_bytes=7) if content.strip() else python
    assert cut.rows() == python.rows()


def test_the_number_of_a_row_is_that_of_its_place_in_the_file(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"id": 12345678901234567890, "x": 9007199254740993, "kind": "a"}\n'
        b'{"id": 2, "x": NaN, "kind": "a"}\n'
        b'{"id": 3, "x": 4, "kind": 1}\n'
        b'{"id": 4, "x": "five", "kind": true}\n'
    )
    [block] = json_blocks(path, columns=SCHEMA.source_columns)
    rejected = prepare(block, tmp_path / "run.arrow", schema=SCHEMA).rejected
    assert rejected.select("row", "column", "reason", "found").rows() == [
        (1, "x", "too many digits", "'9007199254740993'"),
        (2, "x", "not finite", "'NaN'"),
        (4, "x", "not a number", "'five'"),
    ]
    assert json.loads(rejected["values"][0])["id"] == "12345678901234567890"


def test_numbers_are_read_by_arrow(monkeypatch) -> None:
    content = b"".join(b'{"id": %d, "x": %f}\n' % (number, number / 7) for number in range(1000))
    block = JsonBlock(content, "rows.jsonl", ("id", "x"))
    slow = block.read().table
    monkeypatch.setattr(json_lines, "_read_by_python", None)
    fast = block.read(numbers={"x"}).table
    assert fast.schema == {"id": pl.String, "x": pl.Float64}
    assert fast.with_columns(pl.col("x")).rows() == [(key, float(x)) for key, x in slow.rows()]
