"""What sources have in common: kinds, the files that they need, and the words that sorted runs are kept by."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.any_source import SOURCES, AnySource, open_table
from headrace.components.sources.raw_files import (
    CopiedFiles,
    FoundFiles,
    MadeFile,
    OwnRows,
    PackedImages,
    PartitionFiles,
    PinnedFiles,
    QueriedRows,
    TableRows,
)
from headrace.components.sources.source import Source

ANY: TypeAdapter[Source] = TypeAdapter(AnySource)
LABEL = {"type": "category", "name": "y", "classes": ["0", "1"]}
TABLE = ExampleSchema.model_validate({"features": {"x": {"type": "number"}}, "label": LABEL})
POINTS = ExampleSchema.model_validate({"features": {"x": {"type": "number"}}, "label": {"type": "number", "name": "y"}})
IMAGES = ExampleSchema.model_validate(
    {"features": {"x": {"type": "image", "height": 8, "width": 8, "maximum": 16}}, "label": LABEL}
)
TEXTS = ExampleSchema.model_validate(
    {"features": {"text": {"type": "text", "length": 4}}, "label": {"type": "next_token", "name": "text"}}
)


def file(name: str) -> dict[str, str]:
    return {"name": name, "url": f"files/{name}"}


def parts(**splits: Any) -> list[dict[str, Any]]:
    return [{"file": file(name), "given_split": split} for name, split in splits.items()]


# Words are part of the key of a sorted run: others would make every user's runs again.
CASES = {
    "bundled": ({"dataset": "digits"}, IMAGES, ["bundled"]),
    "inline": ({"rows": [{"x": 1, "y": "0"}]}, TABLE, ["lines None"]),
    "generated": (
        {
            "function": "sine",
            "parts": [
                {"count": 2, "x": {"kind": "normal"}},
                {"count": 2, "x": {"kind": "normal"}, "given_split": "test"},
            ],
        },
        POINTS,
        ["lines None", "lines test"],
    ),
    "idx": (
        {"dataset": "d", "parts": [{"images": file("i"), "labels": file("l"), "given_split": "train"}]},
        IMAGES,
        ["idx train"],
    ),
    "delimited": (
        {
            "dataset": "d",
            "separator": ";",
            "parts": [{"files": [file("a"), {**file("b"), "columns": ["x"]}], "given_split": "test"}],
        },
        TABLE,
        ["delimited ';' ('',) [None, ('x',)] test"],
    ),
    "parquet": ({"dataset": "d", "parts": parts(a=None, b="test")}, TABLE, ["parquet None", "parquet test"]),
    "arrow": ({"dataset": "d", "parts": parts(a=None)}, TABLE, ["arrow None"]),
    "tfrecord": ({"dataset": "d", "parts": parts(a=None)}, IMAGES, ["tfrecord None"]),
    "python": ({"file": "sources/rows.py"}, TABLE, ["python"]),
    "sql": ({"query": "queries/rows.sql", "connection": "crm"}, TABLE, ["sql"]),
    "delta": ({"path": "/lake/orders"}, TABLE, ["delta"]),
    "iceberg": ({"path": "/lake/catalog.db", "table": "shop.orders"}, TABLE, ["iceberg"]),
    "json_lines": ({"dataset": "d", "parts": parts(a="train")}, TABLE, ["json_lines train"]),
    "text": ({"dataset": "d", "length": 4, "parts": parts(a=None)}, TEXTS, ["text 4 50 None"]),
    "images": (
        {
            "dataset": "d",
            "parts": [
                {"archives": [file("a.tar"), file("b.tar")]},
                {"archives": [file("c.tar")], "labels": file("l.csv"), "given_split": "test"},
            ],
        },
        IMAGES,
        ["images None", "images None", "images test 'file' ','"],
    ),
}


def test_every_source_has_its_kind_and_its_case() -> None:
    kinds = [get_args(source.model_fields["kind"].annotation)[0] for source in SOURCES]
    assert kinds == list(CASES)
    with pytest.raises(ValidationError, match="expected tags: 'bundled', 'inline', 'generated'"):
        ANY.validate_python({"kind": "spreadsheet"})


@pytest.mark.parametrize("kind", CASES)
def test_parts_are_of_the_files_that_are_needed_and_keep_their_words(tmp_path: Path, kind: str) -> None:
    settings, schema, words = CASES[kind]
    source = ANY.validate_python({"kind": kind, **settings})
    source.check_schema(schema)
    found = []
    for needed in source.raw_files(schema):
        assert isinstance(needed, PinnedFiles | MadeFile | OwnRows | QueriedRows | TableRows)
        names = (
            [needed.name]
            if isinstance(needed, MadeFile | OwnRows | QueriedRows | TableRows)
            else [one.name for one in needed.files]
        )
        found.append(FoundFiles(tuple(tmp_path / name for name in names)))
    opened = source.open_parts(found, schema)
    assert [part.how for part in opened] == words
    assert [file for part in opened for file in part.files] == [path for files in found for path in files.paths]


@pytest.mark.parametrize("kind", ["delimited", "parquet", "arrow", "tfrecord", "json_lines", "text"])
def test_tables_come_from_file_sets_and_partitions_too(tmp_path: Path, kind: str) -> None:
    settings = {"kind": kind, "dataset": "d", **({"length": 4} if kind == "text" else {})}
    schema = TEXTS if kind == "text" else TABLE
    files = ANY.validate_python({**settings, "files": {"root": "landing"}})
    [needed] = files.raw_files(schema)
    assert isinstance(needed, CopiedFiles)
    assert (needed.files.root, needed.dataset) == ("landing", "d")
    opened = files.open_parts([FoundFiles((tmp_path / "a", tmp_path / "b"))], schema)
    assert [part.files for part in opened] == [(tmp_path / "a",), (tmp_path / "b",)]
    interval = {"start": "2026-11-20", "end": "2026-11-21"}
    by_day = ANY.validate_python({**settings, "partitions": {"root": "/landing"}, "interval": interval})
    [needed] = by_day.raw_files(schema)
    assert isinstance(needed, PartitionFiles)
    assert needed.interval is not None


def test_images_of_several_file_sets_are_packed_under_different_names() -> None:
    source = {"kind": "images", "dataset": "d", "parts": [{"files": {"root": root}} for root in ("a", "b")]}
    packed = [one for one in ANY.validate_python(source).raw_files(IMAGES) if isinstance(one, PackedImages)]
    assert [(one.files.root, one.prefix) for one in packed] == [("a", "1_"), ("b", "2_")]


def test_given_splits_are_those_of_the_parts() -> None:
    sources = {kind: ANY.validate_python({"kind": kind, **settings}) for kind, (settings, *_) in CASES.items()}
    given = {kind: source.given_splits for kind, source in sources.items() if source.given_splits}
    assert given == {
        "generated": {"test"},
        "idx": {"train"},
        "delimited": {"test"},
        "parquet": {"test"},
        "json_lines": {"train"},
        "images": {"test"},
    }


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.csv", "DelimitedTable"),
        ("a.CSV.gz", "DelimitedTable"),
        ("a.tsv", "DelimitedTable"),
        ("a.txt.zst", "DelimitedTable"),
        ("a.ndjson.bz2", "JsonLinesTable"),
        ("a.jsonl", "JsonLinesTable"),
        ("a.parquet", "ParquetTable"),
        ("a.arrow", "ArrowTable"),
        ("a.tfrecord.gz", "TfRecordTable"),
    ],
)
def test_a_file_to_predict_has_the_reader_of_its_suffix_whatever_the_source(name: str, reader: str) -> None:
    for kind in ("bundled", "parquet", "python", "text"):
        source = ANY.validate_python({"kind": kind, **CASES[kind][0]})
        assert type(open_table(Path(name), source=source, columns=["x"])).__name__ == reader


def test_a_delimited_file_to_predict_is_read_as_the_source_is() -> None:
    settings = {"kind": "delimited", "dataset": "d", "files": {"root": "a"}, "separator": ";", "null_values": ["NA"]}
    source = ANY.validate_python(settings)
    table, tabs = (open_table(Path(name), source=source, columns=[]) for name in ("a.csv", "a.tsv"))
    assert (table.separator, table.null_values) == (";", ("NA",))  # type: ignore[attr-defined]
    assert tabs.separator == "\t"  # type: ignore[attr-defined]


def test_any_other_file_is_a_mistake() -> None:
    source = ANY.validate_python({"kind": "bundled", "dataset": "digits"})
    with pytest.raises(ParamsError, match=r"can't read a\.xlsx: expected \.csv, \.tsv"):
        open_table(Path("a.xlsx"), source=source, columns=[])
