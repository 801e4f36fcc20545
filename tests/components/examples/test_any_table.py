"""Tables of any schema and any values, drawn: the same examples and the same rejected rows from every format."""

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.examples.table import example_table
from headrace.components.examples.validation import check_part
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.delimited.reader import delimited_blocks, read_layout
from headrace.components.sources.json_lines import json_blocks
from headrace.components.sources.parquet.reader import parquet_blocks

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
NAMES = st.text(CHARACTERS, min_size=1, max_size=8).map(lambda name: f"x {name}")
WORDS = st.text(CHARACTERS, min_size=1, max_size=8)
CLASSES = ("red", "light blue", "é,\n")
NUMBERS = st.floats().map(repr) | st.integers(-(2**70), 2**70).map(str) | st.sampled_from([" 1.5 ", "1,5", "0x1", "-0"])
DATES = st.datetimes().map(str) | st.dates().map(str) | st.sampled_from(["2026-02-30", "20.11.26", "0001-01-01", "now"])
BOUNDS = st.none() | st.floats(-100, 100)
NULLABLE = st.booleans()

FEATURES = {
    "number": st.fixed_dictionaries({"type": st.just("number"), "nullable": NULLABLE, "minimum": BOUNDS}),
    "date": st.fixed_dictionaries({"type": st.just("number"), "nullable": NULLABLE, "date_format": st.just("iso")}),
    "class": st.fixed_dictionaries({"type": st.just("category"), "nullable": NULLABLE, "classes": st.just(CLASSES)}),
    "word": st.fixed_dictionaries({"type": st.just("category"), "nullable": NULLABLE}),
}
VALUES = {"number": NUMBERS, "date": DATES, "class": st.sampled_from([*CLASSES, "blue"]), "word": WORDS}


@st.composite
def tables(draw) -> tuple[ExampleSchema, pl.DataFrame]:
    """A schema of up to four features, and a raw table of text for it; some values fit, some do not."""
    kinds = draw(st.dictionaries(NAMES, st.sampled_from(sorted(FEATURES)), min_size=1, max_size=4))
    features = {name: draw(FEATURES[kind]) for name, kind in kinds.items()}
    label = {"type": "category", "name": "label", "classes": CLASSES}
    schema = ExampleSchema.model_validate({"key": ["key"], "features": features, "label": label})
    column = {name: st.none() | VALUES[kind] for name, kind in {**kinds, "label": "class", "key": "word"}.items()}
    rows = draw(st.lists(st.fixed_dictionaries(column), min_size=1, max_size=8))
    return schema, pl.DataFrame(rows, schema=dict.fromkeys(column, pl.String))


def write(table: pl.DataFrame, folder: Path) -> None:
    stream = io.StringIO(newline="")
    rows = ([value or "" for value in row] for row in table.rows())
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([table.columns, *rows])
    (folder / "rows.csv").write_bytes(stream.getvalue().encode())
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table.iter_rows(named=True))
    (folder / "rows.jsonl").write_bytes("".join(lines).encode())
    table.write_parquet(folder / "rows.parquet")


def ingested(blocks, schema: ExampleSchema) -> tuple[list[tuple], list[tuple]]:
    """The examples, and place, reason and value of the rows that were rejected."""
    [block] = blocks
    checked = check_part(block.read(), schema)
    rejected = checked.rejected.drop("file", "values")
    return example_table(checked, schema).rows(), rejected.rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("any")


@given(drawn=tables())
@settings(max_examples=60, deadline=None)
def test_every_format_gives_the_same_examples_and_rejects_the_same_rows(folder, drawn):
    schema, table = drawn
    write(table, folder)
    names = schema.source_columns
    layout = read_layout(folder / "rows.csv", columns=names, separator=",", null_values=("",))
    from_text = ingested(delimited_blocks(folder / "rows.csv", layout), schema)
    assert ingested(json_blocks(folder / "rows.jsonl", columns=names), schema) == from_text
    assert ingested(parquet_blocks(folder / "rows.parquet", schema=schema), schema) == from_text
    examples, rejected = from_text
    assert len(examples) + len(rejected) == table.height
    assert sorted({row for row, *_ in rejected}) == [row for row, *_ in rejected]
