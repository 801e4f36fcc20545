"""Hostile inputs through the real `headrace ingest`, after a good version: what happens, with which exit code.

docs/data-safety.md has a row for every case, in the same words. What it has of downloads, archives and disks is held by
tests/pipelines/fetching, tests/components/sources and test_hostile_disks.py.
"""

import bz2
import gzip
import io
import json
import lzma
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from headrace.components.examples import shards
from headrace.components.examples.validation import describe
from headrace.pipelines.__main__ import main
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

ADDED = ("example_id", "content_id", "group_id", "time")


@dataclass(frozen=True)
class Case:
    """One hostile input: what it is, and the words of its refusal, or what is accepted as which rows.

    `content` is that of the format's first file, or the contents of several by name. `changes` are of `ingest`.
    """

    input: str
    content: bytes | dict[str, bytes]
    refused: str = ""
    accepted: str = ""
    rows: list[tuple[Any, ...]] | None = None
    rejected: tuple[str, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return 2 if self.refused else 0

    @property
    def happens(self) -> str:
        return f"refused: `{self.refused}`" if self.refused else self.accepted


@dataclass(frozen=True)
class Format:
    """A good source: its files by name, the section `ingest`, and the rows that it gives."""

    files: dict[str, bytes]
    ingest: dict[str, Any]
    rows: list[tuple[Any, ...]]


SIZE = {"type": "number", "nullable": True}
KIND = {"type": "category", "name": "kind", "classes": ["big", "small"]}
ROWS = [(1.5, "big"), (None, "small"), (0.5, "big")]
TABLE = {"key": ["id"], "features": {"size": SIZE}, "label": KIND}


def features(**named: dict[str, Any]) -> dict[str, Any]:
    return {"features": {name: {"type": "number", **feature} for name, feature in named.items()}}


def pinned(kind: str, name: str) -> dict[str, Any]:
    file = {"name": name, "url": f"hostile/{name}"}
    part = {"files": [file]} if kind == "delimited" else {"file": file}
    return {"kind": kind, "dataset": "small", "parts": [part]}


# ---- delimited text

CSV = b"id,size,kind\n1,1.5,big\n2,,small\n3,0.5,big\n"
DELIMITED = Format({"rows.csv": CSV}, {**TABLE, "source": pinned("delimited", "rows.csv")}, ROWS)
MANY = b",".join(b"c%d" % number for number in range(5000))


def size(text: str) -> bytes:
    """The good file with another value in row 1, column size."""
    return CSV.replace(b"1.5", text.encode())


def not_a_number(text: str, expected: str = "a number") -> str:
    return f"rows.csv, row 1, column 'size': expected {expected}, found '{text}'"


COLUMNS = [
    Case("a column is missing", b"id,kind\n1,big\n", "rows.csv: no column 'size'; found id, kind"),
    Case(
        "a column has another name",
        CSV.replace(b"size", b"Size"),
        "rows.csv: no column 'size'; found id, Size, kind; did you mean 'Size'?",
    ),
    Case("blanks around names", CSV.replace(b",", b", "), "no column 'size'; found id,  size,  kind; did you mean"),
    Case("no header line", CSV[13:], "rows.csv: no column 'id'; found 1, 1.5, big"),
    Case("another separator", CSV.replace(b",", b";"), "rows.csv: no column 'id'; found id;size;kind"),
    Case("a column more", b"id,more,size,kind\n1,x,1.5,big\n", accepted="left out", rows=[(1.5, "big")]),
    Case("columns in another order", b"kind,size,id\nbig,1.5,1\n", accepted="they go by name", rows=[(1.5, "big")]),
    Case("a column twice", b"id,size,size,kind\n1,1,2,big\n", "column 'size' occurs 2 times; found id, size, size"),
    Case(
        "a column twice that is no feature",
        b"id,x,x,size,kind\n1,7,8,1.5,big\n",
        accepted="read",
        rows=[(1.5, "big")],
    ),
    Case("numbers that became words", size("tall"), not_a_number("tall")),
    Case(
        "words that became numbers",
        CSV.replace(b"small", b"1"),
        "rows.csv, row 2, column 'kind': expected one of big, small, found '1'",
    ),
    Case(
        "numbers, words and dates in one column",
        CSV.replace(b"2,,", b"2,two,").replace(b"0.5", b"2026-11-20"),
        "row 3, column 'size': expected a number, found '2026-11-20'",
    ),
    Case(
        "5,000 columns more",
        b"id," + MANY + b",size,kind\n1" + b",7" * 5000 + b",1.5,big\n",
        accepted="left out",
        rows=[(1.5, "big")],
    ),
    Case("5,000 columns, none of which is a feature", MANY + b"\n", "c39 and 4960 more"),
    Case("an empty file", b"", "rows.csv: expected a header line with column names, found none"),
    Case("line ends only", b"\n\n", "rows.csv: expected a header line with column names, found none"),
    Case("a byte order mark only", b"\xef\xbb\xbf", "rows.csv: expected a header line with column names, found none"),
    Case("a header line only", CSV[:13], "rows.csv has a header line but no rows"),
]

TEXT = [
    Case(
        "a row too short",
        CSV.replace(b"2,,small", b"2,small"),
        "rows.csv, row 2: expected 3 values, found 2 in '2,small'",
    ),
    Case("a row too long", CSV.replace(b"2,,small", b"2,,small,4"), "rows.csv, row 2: expected 3 values, found 4"),
    Case("a row of separators only", CSV + b",,\n", "rows.csv, row 4, column 'id': expected a key, found nothing"),
    Case("empty lines", CSV.replace(b"\n", b"\n\n"), accepted="no rows"),
    Case("a byte order mark", b"\xef\xbb\xbf" + CSV, accepted="left out"),
    Case("CRLF", CSV.replace(b"\n", b"\r\n"), accepted="line ends"),
    Case("CR", CSV.replace(b"\n", b"\r"), accepted="line ends"),
    Case("line ends of several kinds", CSV.replace(b"big\n", b"big\r\n"), accepted="line ends"),
    Case("no line end at the end", CSV[:-1], accepted="read"),
    Case(
        "line ends in quotes",
        b'id,size,name\n1,1.5,"two\nlines"\n2,2,"CR\r\nLF"\n',
        accepted="part of the value",
        rows=[("two\nlines", 1.5), ("CR\r\nLF", 2.0)],
        changes={"features": {"name": {"type": "category"}}, "label": {"type": "number", "name": "size"}},
    ),
    Case(
        "doubled quotes",
        b'id,size,name\n1,1.5,"say ""hi"""\n',
        accepted="one quote",
        rows=[('say "hi"', 1.5)],
        changes={"features": {"name": {"type": "category"}}, "label": {"type": "number", "name": "size"}},
    ),
    Case("a quote that is not closed", CSV.replace(b"2,,", b'2,,"'), "rows.csv, row 2: a value begins with a quote"),
    Case("text after a closing quote", CSV.replace(b"small", b'"sm"all'), "row 2: a value begins with a quote"),
    Case("a quote within a value", CSV.replace(b"2,,", b'5" pipe,,'), accepted="text"),
    Case("UTF-16", CSV.decode().encode("utf-16"), "it begins as UTF-16 does: convert it"),
    Case("Latin-1", CSV.replace(b"2,,", b"caf\xe9,,"), "rows.csv, row 2: expected UTF-8 text, found other bytes"),
    Case("Latin-1 in the header line", CSV.replace(b"size", b"gr\xf6\xdfe"), "its header line is not delimited UTF-8"),
    Case(
        "Latin-1 in a column that is no feature",
        b"id,note,size,kind\n1,caf\xe9,1.5,big\n",
        accepted="not read",
        rows=[(1.5, "big")],
    ),
    Case("a NUL in a number", size("1\0005"), not_a_number(r"1\x005")),
    Case("colours of a terminal in a value", size("\x1b[31mred"), not_a_number(r"\x1b[31mred")),
    Case("a line of a log in a value", size('"1\nerror: all is well"'), not_a_number(r"1\nerror: all is well")),
    Case("a page of HTML", b"<!DOCTYPE html>\n<p>404</p>\n", "rows.csv: no column 'id'; found <!DOCTYPE html>"),
    Case("an image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "rows.csv: its header line is not delimited UTF-8 text"),
    Case("a zip archive", b"PK\x03\x04\x14" + bytes(26) + b"x", r"rows.csv: no column 'id'; found PK\x03\x04"),
]

DAYS = {"nullable": True, "date_format": "iso"}


def day(text: str, date_format: str = "iso") -> dict[str, Any]:
    """A file of one row with a date, and the settings that read it."""
    return {
        "content": f"id,seen,kind\n1,{text},big\n".encode(),
        "changes": features(seen={"date_format": date_format}),
    }


def no_day(text: str, expected: str = "a date or time as ISO 8601 has it") -> str:
    return f"rows.csv, row 1, column 'seen': expected {expected}, found '{text}'"


COLOURS = b"id,colour,kind\n1,red,big\n2,blue,small\n"
RED = {"type": "category", "classes": ["red", "green"]}
TWICE = CSV.replace(b"3,", b"1,")
SAME = b"id,size,kind\n1,1.5,big\n2,1.5,big\n3,0.5,big\n"
BAD = CSV.replace(b"2,,", b"2,tall,")

VALUES = [
    Case("NaN", size("NaN"), not_a_number("NaN", "a finite number")),
    Case("an infinity", size("-inf"), not_a_number("-inf", "a finite number")),
    Case("a number beyond float64", size("1e999"), not_a_number("1e999", "a finite number")),
    Case("a decimal comma", size('"1,5"'), not_a_number("1,5")),
    Case("N/A, null, None", size("N/A"), not_a_number("N/A")),
    Case(
        "N/A, declared",
        size("N/A"),
        accepted="missing",
        rows=[(None, "big"), (None, "small"), (0.5, "big")],
        changes={"source": {**pinned("delimited", "rows.csv"), "null_values": ["", "N/A"]}},
    ),
    Case("digits of another script", size("\u0663"), not_a_number("\u0663")),
    Case("hexadecimal, 1_000, $5, true", size("0x10"), not_a_number("0x10")),
    Case("blanks around a number", size(" 1.5 "), accepted="left out"),
    Case(
        "below `minimum`",
        size("-1"),
        not_a_number("-1", "a number of at least 0"),
        changes=features(size={"minimum": 0}),
    ),
    Case(
        "above `maximum`",
        size("200"),
        not_a_number("200", "a number from 0 to 120"),
        changes=features(size={**SIZE, "minimum": 0, "maximum": 120}),
    ),
    Case(
        "a whole number that float64 would round",
        size("9007199254740993"),
        not_a_number("9007199254740993", "a whole number that float64 can hold"),
    ),
    Case(
        "a whole number beyond 64 bits",
        size("99999999999999999999"),
        not_a_number("99999999999999999999", "a whole number that float64 can hold"),
    ),
    Case(
        "an extreme outlier",
        size("-1e300"),
        accepted="kept; drift warns; `normalize` refuses what float32 can't hold",
        rows=[(-1e300, "big"), *ROWS[1:]],
    ),
    Case(
        "a constant column",
        b"id,size,kind\n1,7,big\n2,7,small\n",
        accepted="kept; scaled it is 0",
        rows=[(7.0, "big"), (7.0, "small")],
    ),
    Case(
        "a column of missing values only",
        b"id,size,kind\n1,,big\n2,,small\n",
        accepted="kept where `nullable`; `normalize` then has nothing to impute, and refuses it",
        rows=[(None, "big"), (None, "small")],
    ),
    Case(
        "a missing value",
        CSV,
        "rows.csv, row 2, column 'size': expected a number, found nothing",
        changes=features(size={}),
    ),
    Case("a missing label", CSV.replace(b"small", b""), "row 2, column 'kind': expected a value, found nothing"),
    Case(
        "a label of another class",
        CSV.replace(b"small", b"Small"),
        "row 2, column 'kind': expected one of big, small, found 'Small'",
    ),
    Case("a class of one row", CSV, accepted="kept; `split` refuses a class that training has not"),
    Case(
        "a number to predict that is none",
        b"id,size,kind\n1,1,2\n2,1,nan\n",
        "row 2, column 'kind': expected a finite number, found 'nan'",
        changes={"label": {"type": "number", "name": "kind"}},
    ),
    Case(
        "an unseen category, of declared classes",
        COLOURS,
        "row 2, column 'colour': expected one of red, green, found 'blue'",
        changes={"features": {"colour": RED}},
    ),
    Case(
        "an unseen category, without classes",
        COLOURS,
        accepted="kept; drift warns",
        rows=[("red", "big"), ("blue", "small")],
        changes={"features": {"colour": {"type": "category"}}},
    ),
    Case(
        "a category of another pattern",
        COLOURS.replace(b"blue", b"blue 2"),
        "row 2, column 'colour': expected text that matches [a-z]+, found 'blue 2'",
        changes={"features": {"colour": {"type": "category", "pattern": "[a-z]+"}}},
    ),
    Case("a key twice", TWICE, "ingest.key: 2 rows share their key with another; the first has id = 1"),
    Case(
        "a key twice, `repeated_keys: last`",
        TWICE,
        accepted="the last one stays",
        rows=ROWS[1:],
        changes={"repeated_keys": "last"},
    ),
    Case("a missing key", CSV.replace(b"3,", b","), "rows.csv, row 3, column 'id': expected a key, found nothing"),
    Case("keys 1 and 01", CSV.replace(b"3,", b"01,"), accepted="two keys, as they are written"),
    Case(
        "keys of 20 digits",
        CSV.replace(b"3,", b"99999999999999999999,").replace(b"2,", b"99999999999999999998,"),
        accepted="text, to the last digit",
    ),
    Case(
        "the same content twice",
        SAME,
        accepted="kept, and counted as `duplicate_rows`; `split` leaves out what training has, too",
        rows=[(1.5, "big"), (1.5, "big"), (0.5, "big")],
        changes={"key": []},
    ),
    Case(
        "the same content twice, `duplicates: drop`",
        SAME,
        accepted="one stays",
        rows=[(1.5, "big"), (0.5, "big")],
        changes={"key": [], "duplicates": "drop"},
    ),
    Case(
        "the same content twice, `duplicates: refuse`",
        SAME,
        "ingest.duplicates: 2 rows have the same content as another",
        changes={"key": [], "duplicates": "refuse"},
    ),
    Case(
        "a value twice, `unique`",
        SAME,
        "ingest.features.size: values must differ (unique), but 1 of them occur more than once, such as 1.5",
        changes=features(size={"unique": True}),
    ),
    Case(
        "a missing group",
        b"id,size,kind,who\n1,1,big,a\n2,1,small,\n",
        "row 2, column 'who': expected a group, found nothing",
        changes={"group": ["who"]},
    ),
    Case(
        "a time that is none",
        b"id,size,kind,at\n1,1,big,2026-01-01\n2,1,small,yesterday\n",
        "row 2, column 'at': expected a date or time as ISO 8601 has it, found 'yesterday'",
        changes={"time": {"column": "at"}},
    ),
    Case("a day that is none", **day("2026-02-30"), refused=no_day("2026-02-30")),
    Case("a date written in another way", **day("20.11.2026"), refused=no_day("20.11.2026")),
    Case("that date, declared", **day("20.11.2026", "%d.%m.%Y"), accepted="read", rows=[(20777.0, "big")]),
    Case(
        "month and day exchanged",
        **day("11/20/2026", "%d/%m/%Y"),
        refused=no_day("11/20/2026", "a date or time as %d/%m/%Y"),
    ),
    Case(
        "a year of two digits", **day("20.11.26", "%d.%m.%Y"), refused=no_day("20.11.26", "a date or time as %d.%m.%Y")
    ),
    Case("a date that stands for none", **day("0001-01-01"), refused=no_day("0001-01-01")),
    Case("a time with a zone", **day("2026-11-20T13:00:00+01:00"), accepted="taken to UTC", rows=[(20777.5, "big")]),
    Case(
        "as many bad rows as `max_bad_fraction` allows",
        BAD,
        accepted="left out, and in `rejected.parquet` with the reason",
        rows=[(1.5, "big"), (0.5, "big")],
        rejected=("rows.csv, row 2, column 'size': expected a number, found 'tall'",),
        changes={"max_bad_fraction": 0.34},
    ),
    Case(
        "more bad rows than that",
        BAD,
        "1 of 3 rows do not fit the schema (max_bad_fraction is 0.33)",
        changes={"max_bad_fraction": 0.33},
    ),
    Case("1,000 bad rows", b"id,size,kind\n" + b"1,x,big\n" * 1000, "and 995 rows more"),
]

# ---- JSON lines

JSON = b'{"id": 1, "size": 1.5, "kind": "big"}\n{"id": 2, "kind": "small"}\n{"id": 3, "size": 0.5, "kind": "big"}\n'
JSON_LINES = Format({"rows.jsonl": JSON}, {**TABLE, "source": pinned("json_lines", "rows.jsonl")}, ROWS)


def json_size(text: str) -> bytes:
    return JSON.replace(b"1.5", text.encode())


JSONS = [
    Case("an empty file", b"", "rows.jsonl has no rows"),
    Case("a key that a row lacks", JSON, accepted="missing there"),
    Case(
        "a key that all rows lack, or that has another name",
        JSON.replace(b"size", b"Size"),
        accepted="missing in all rows, if it is `nullable`; drift warns",
        rows=[(None, kind) for _, kind in ROWS],
    ),
    Case("a label that a row lacks", JSON.replace(b', "kind": "small"', b""), "row 2, column 'kind': expected a value"),
    Case("keys more, in another order", JSON.replace(b'{"id"', b'{"x": [1, {}], "id"'), accepted="left out"),
    Case("a key twice", JSON.replace(b"1.5", b'1, "size": 2'), "rows.jsonl, row 1: key 'size' comes 2 times"),
    Case("a list for a number", json_size("[1.5]"), "rows.jsonl, row 1: key 'size': expected a value, found a list"),
    Case(
        "a word for a number", json_size('"tall"'), "rows.jsonl, row 1, column 'size': expected a number, found 'tall'"
    ),
    Case("a number as text", json_size('"1.5"'), accepted="a number"),
    Case("true for a number", json_size("true"), "row 1, column 'size': expected a number, found 'true'"),
    Case("NaN", json_size("NaN"), "row 1, column 'size': expected a finite number, found 'NaN'"),
    Case(
        "a number that float64 would round", json_size("9007199254740993"), "expected a whole number that float64 can"
    ),
    Case("an array of rows", b"[" + JSON[:37] + b"]", "rows.jsonl, row 1: expected one object a line, found a list"),
    Case("a row over several lines", b'{\n"id": 1}\n', "rows.jsonl, row 1: not a JSON object"),
    Case("two rows in a line", JSON.replace(b"}\n{", b"}{"), "rows.jsonl, row 1: not a JSON object (Extra data"),
    Case("truncated", JSON[:-9], "rows.jsonl, row 3: not a JSON object (Expecting"),
    Case("CSV", CSV, "rows.jsonl, row 1: not a JSON object (Expecting value"),
    Case("a byte order mark, CRLF", b"\xef\xbb\xbf" + JSON.replace(b"\n", b"\r\n"), accepted="read"),
    Case("Latin-1", JSON.replace(b"small", b"caf\xe9"), "rows.jsonl, row 2: expected UTF-8 text, found other bytes"),
    Case(
        "half of a surrogate pair", JSON.replace(b"small", rb"\ud83d"), "row 2: key 'kind': expected text, found half"
    ),
    Case("100,000 lists in each other", json_size("[" * 100_000), "row 1: lists or objects in each other without end"),
]

# ---- Parquet

GOOD_COLUMNS = {"id": [1, 2, 3], "size": [1.5, None, 0.5], "kind": ["big", "small", "big"]}


def parquet(**columns: Any) -> bytes:
    """The good table, with other or more columns; one that is None is left out."""
    table = {name: column for name, column in (GOOD_COLUMNS | columns).items() if column is not None}
    stream = io.BytesIO()
    pq.write_table(pa.table(table), stream)
    return stream.getvalue()


MOMENT = datetime(2026, 11, 20, tzinfo=UTC)
NOT_UTF8 = pa.array([b"big", b"sm\xe4ll", b"big"], pa.binary()).view(pa.string())
DATES = {"features": {"size": {"type": "number", "nullable": True, "date_format": "iso"}}}
GOOD = parquet()
PARQUET = Format({"rows.parquet": GOOD}, {**TABLE, "source": pinned("parquet", "rows.parquet")}, ROWS)
PARQUETS = [
    Case("an empty file", b"", "rows.parquet is a damaged Parquet file, or none (Parquet file size is 0 bytes)"),
    Case("CSV", CSV * 9, "rows.parquet is a damaged Parquet file, or none (Parquet magic bytes not found"),
    Case("truncated", GOOD[:-1], "rows.parquet is a damaged Parquet file, or none"),
    Case("a damaged page", GOOD[:9] + b"\xff\xff" + GOOD[11:], "rows.parquet is a damaged Parquet file, or none"),
    Case("a footer of 2 GiB", GOOD[:-8] + b"\xff\xff\xff\x7fPAR1", "smaller than the size reported by footer's"),
    Case(
        "no rows",
        parquet(id=pa.array([], "i8"), size=pa.array([], "f8"), kind=pa.array([], "str")),
        "rows.parquet has no rows",
    ),
    Case("a column is missing", parquet(size=None), "rows.parquet: no column 'size'; found id, kind"),
    Case("a column has another name", parquet(size=None, Size=[1, 2, 3]), "found id, kind, Size; did you mean 'Size'?"),
    Case("columns more", parquet(more=[[1]] * 3, again=["x"] * 3), accepted="left out"),
    Case("numbers as text", parquet(size=["1.5", None, "0.5"]), accepted="numbers"),
    Case(
        "numbers that became words",
        parquet(size=["tall", None, "0"]),
        "rows.parquet, row 1, column 'size': expected a number, found 'tall'",
    ),
    Case(
        "a list for a number",
        parquet(size=[[1.5], None, [1]]),
        "column 'size': expected numbers, found list<element: double>",
    ),
    Case(
        "times that are not declared",
        parquet(size=[MOMENT] * 3),
        "expected numbers, found timestamp[us, tz=UTC]; for a date or time, set date_format",
    ),
    Case(
        "a time beyond the clock",
        parquet(size=pa.array([2**62] * 3, pa.timestamp("ms"))),
        "a date or time as ISO 8601 has it, found '4611686018427387904 ms since 1970'",
        changes=DATES,
    ),
    Case("bytes for text", parquet(kind=[b"big"] * 3), "column 'kind': expected text or whole numbers, found binary"),
    Case(
        "text that is not UTF-8",
        parquet(kind=NOT_UTF8),
        "rows.parquet, row 2, column 'kind': expected UTF-8 text, found other bytes",
    ),
    Case("NaN", parquet(size=[float("nan"), None, 1]), "row 1, column 'size': expected a finite number, found NaN"),
    Case(
        "integers that float64 would round",
        parquet(size=[2**53 + 1, None, 1]),
        "expected a whole number that float64 can hold, found 9007199254740993",
    ),
    Case(
        "decimals beyond 64 bits",
        parquet(size=[Decimal(10**30 + 1), None, Decimal(1)]),
        "expected a whole number that float64 can hold",
    ),
    Case("a key of floats", parquet(id=[1.0, 2.0, 3.0]), "column 'id': expected text or whole numbers, found double"),
    Case("keys of 64 bits", parquet(id=pa.array([2**64 - 1, 2**64 - 2, 3], "u8")), accepted="to the last digit"),
    Case(
        "a missing label", parquet(kind=["big", None, "big"]), "row 2, column 'kind': expected a value, found nothing"
    ),
    Case(
        "a column of nulls only",
        parquet(size=pa.nulls(3)),
        accepted="missing in all rows",
        rows=[(None, kind) for _, kind in ROWS],
    ),
]

# ---- idx


def idx(values: Any) -> bytes:
    array = np.asarray(values, np.uint8)
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGE = {"image": {"type": "image", "height": 2, "width": 2}}
DIGIT = {"type": "category", "name": "digit", "classes": ["0", "1", "2"]}
PIXELS = [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]
IMAGES, LABELS = idx(PIXELS), idx([0, 1, 2])
PAIR = {name: {"name": name, "url": f"hostile/{name}"} for name in ("images", "labels")}
IDX = Format(
    {"images": IMAGES, "labels": LABELS},
    {"source": {"kind": "idx", "dataset": "small", "parts": [PAIR]}, "features": IMAGE, "label": DIGIT},
    [([0, 1, 2, 3], "0"), ([4, 5, 6, 7], "1"), ([8, 9, 10, 11], "2")],
)
IDXS = [
    Case("gzip without the name", gzip.compress(IMAGES), accepted="read as what it is"),
    Case("an empty file", b"", "images is not an idx file: it must begin with two zero bytes, found nothing"),
    Case("a zip archive", b"PK\x03\x04", "must begin with two zero bytes, found 50 4b 03 04"),
    Case("floats", b"\0\0\x0d" + IMAGES[3:], "images: expected type code 0x08 (unsigned byte), found 0x0d"),
    Case("truncated", IMAGES[:-1], "images: the header announces 12 values of shape (3, 2, 2), found only 11"),
    Case("truncated in the header", IMAGES[:9], "images: expected 3 dimensions in the header, found 1"),
    Case("something after the end", IMAGES + b"\0", "the header announces 12 values of shape (3, 2, 2), found more"),
    Case("2^96 values announced", b"\0\0\x08\3" + b"\xff" * 12 + b"abc", "found only 3"),
    Case("255 dimensions", b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", "expected at most 4 dimensions in the header"),
    Case("no dimensions", b"\0\0\x08\0", "expected at least 1 dimensions in the header, found 0"),
    Case("no images", b"\0\0\x08\3" + bytes(12), "images: no values; its shape is (0, 0, 0)"),
    Case(
        "images of another size", idx(np.zeros((3, 3, 2))), "'image' is declared as (2, 2, 1) (height, width, channels)"
    ),
    Case("fewer images than labels", idx(PIXELS[:2]), "images has 2 images, but labels has 3 labels"),
    Case("images and labels exchanged", {"images": LABELS, "labels": IMAGES}, "labels: expected one label a row"),
    Case(
        "a label of no class",
        {"images": IMAGES, "labels": idx([0, 1, 3])},
        "labels, row 3, column 'digit': expected one of 0, 1, 2, found 3",
    ),
    Case(
        "pixels above `maximum`",
        IMAGES,
        "images, row 3, column 'image': expected pixels of at most 10, found pixels of up to 11",
        changes={"features": {"image": {**IMAGE["image"], "maximum": 10}}},
    ),
]

# ---- images in archives


def picture(value: Any = 7, *, mode: str = "L", size: tuple[int, int] = (2, 2), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, value).save(stream, kind)
    return stream.getvalue()


def tar(files: dict[str, bytes], *, link: str = "") -> bytes:
    """An archive of the files, and a symbolic link to where `link` says."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("dog/link.png")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def png(width: int, height: int, *, extra: bytes = b"") -> bytes:
    """A PNG that announces any size and has no more than one row of it; `extra` are chunks in front."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(bytes(1 + width))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def image_source(**part: Any) -> dict[str, Any]:
    archive = {"name": "images.tar", "url": "hostile/images.tar"}
    return {"source": {"kind": "images", "dataset": "small", "parts": [{"archives": [archive], **part}]}}


PETS = {"cat/a.png": picture(1), "cat/b.png": picture(2), "dog/c.png": picture(3)}
PET_ROWS = [([1] * 4, "cat"), ([2] * 4, "cat"), ([3] * 4, "dog")]
PET = {"type": "category", "name": "kind", "classes": ["cat", "dog"]}
ARCHIVE = Format({"images.tar": tar(PETS)}, {**image_source(), "features": IMAGE, "label": PET}, PET_ROWS)
LABELED = image_source(labels={"name": "labels.csv", "url": "hostile/labels.csv"})


def pets(content: bytes, name: str = "dog/c.png") -> bytes:
    """The archive with another content of one image."""
    return tar(PETS | {name: content})


def no_pet(found: str, expected: str = "an image (JPEG, PNG, GIF, BMP, WebP, TIFF or AVIF)") -> str:
    return f"dog/c.png, row 3, column 'image': expected {expected}, found {found}"


def labels(text: str) -> dict[str, bytes]:
    return {"images.tar": tar(PETS), "labels.csv": text.encode()}


def with_third(*pixels: int) -> list[tuple[Any, ...]]:
    return [*PET_ROWS[:2], (list(pixels), "dog")]


def resized(how: str) -> dict[str, Any]:
    return {"features": {"image": {**IMAGE["image"], "resize": how}}}


PICTURES = [
    Case("text named .png", pets(b"hello"), no_pet("bytes that begin with 68 65 6c 6c 6f")),
    Case("an empty file", pets(b""), no_pet("0 bytes")),
    Case("SVG or PPM named .png", pets(picture(kind="PPM")), no_pet("bytes that begin with 50 35 0a 32 20 32 0a 32")),
    Case("a truncated PNG", pets(picture()[:-20]), no_pet("Truncated File Read")),
    Case(
        "a PNG with a wrong checksum",
        pets(picture()[:45] + b"X" + picture()[46:]),
        no_pet("broken PNG file (bad header checksum in b'IDAT')"),
    ),
    Case("a truncated JPEG", pets(picture(kind="JPEG")[:-30]), no_pet("")),
    Case("a JPEG named .png", pets(picture(kind="JPEG")), accepted="read as what it is", rows=with_third(7, 7, 7, 7)),
    Case("60,000 x 60,000 pixels in 1 KB", pets(png(60_000, 60_000)), no_pet("Image size", "at most 89478485 pixels")),
    Case(
        "a PNG whose pixels end early, with right checksums",
        pets(png(2, 2)),
        accepted="black where there are none, as Pillow has it",
        rows=with_third(0, 0, 0, 0),
    ),
    Case(
        "128 MiB of text in 128 KB of PNG",
        pets(png(2, 2, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27), 1)))),
        no_pet("Decompressed data too large"),
    ),
    Case("another size", pets(picture(size=(3, 2))), no_pet("3 x 2", "2 x 2 pixels; resize takes others")),
    Case(
        "another size, `resize: crop`",
        pets(picture(size=(4, 2))),
        accepted="the middle of it",
        changes=resized("crop"),
        rows=with_third(7, 7, 7, 7),
    ),
    Case(
        "colour where grey is declared",
        pets(picture((255, 0, 0), mode="RGB")),
        accepted="its luma",
        rows=with_third(*[76] * 4),
    ),
    Case("16 bits", pets(picture(65535, mode="I;16")), accepted="the upper 8", rows=with_third(*[255] * 4)),
    Case(
        "CMYK", pets(picture((0, 0, 0, 0), mode="CMYK", kind="JPEG")), accepted="converted", rows=with_third(*[255] * 4)
    ),
    Case(
        "transparent", pets(picture((0, 0, 0, 0), mode="RGBA")), accepted="laid on white", rows=with_third(*[255] * 4)
    ),
    Case(
        "a folder of no class",
        pets(picture(), "fox/d.png"),
        "fox/d.png, row 4, column 'kind': expected one of cat, dog",
    ),
    Case(
        "an image in no folder",
        pets(picture(), "d.png"),
        "d.png, row 4, column 'kind': expected a value, found nothing",
    ),
    Case("other files", pets(b"hello", "README.txt"), accepted="left out"),
    Case(
        "other files only",
        tar({"README.txt": b"hello"}),
        "images.tar: no images, found 1 .txt; looked for names that end in .jpg",
    ),
    Case(
        "one bad image, and `max_bad_fraction` allows it",
        pets(b"hello"),
        accepted="left out, and in `rejected.parquet` with the reason",
        rows=PET_ROWS[:2],
        rejected=(no_pet("bytes that begin with 68 65 6c 6c 6f"),),
        changes={"max_bad_fraction": 0.5},
    ),
    Case(
        "a labels file that names an image that is not there",
        labels("file,kind\na,cat\nb,cat\nc,dog\nd,dog\n"),
        "d, row 4, column 'image': expected an image (JPEG, PNG, GIF, BMP, WebP, TIFF or AVIF), found only its row",
        changes=LABELED,
    ),
    Case(
        "a labels file that lacks an image",
        labels("file,kind\na,cat\nb,cat\n"),
        "dog/c.png, row 3, column 'kind': expected a value, found nothing",
        changes=LABELED,
    ),
    Case(
        "a labels file that names an image twice",
        labels("file,kind\na,cat\na,dog\n"),
        "labels.csv, row 1: image 'a' is named twice",
        changes=LABELED,
    ),
]

ARCHIVES = [
    Case("a tar in gzip, bzip2, xz or zstd", gzip.compress(tar(PETS)), accepted="read as what it is"),
    Case("a zip named .tar", zipped(PETS), accepted="read as what it is"),
    Case("no archive", b"hello" * 1000, "images.tar is a damaged archive (not a tar or zip archive"),
    Case("a truncated tar", tar(PETS)[:2000], "images.tar is a damaged archive ("),
    Case("a truncated zip", zipped(PETS)[:-30], "images.tar is a damaged archive ("),
    Case(
        "a damaged header within",
        tar(PETS).replace(b"cat/b", b"cat/c"),
        "not a tar or zip archive, or truncated: bad checksum",
    ),
    Case(
        "a name that leads elsewhere", pets(picture(), "../d.png"), "member '../d.png' has a name that leads elsewhere"
    ),
    Case("an absolute name", pets(picture(), "/d.png"), "member '/d.png' has a name that leads elsewhere"),
    Case("a link", tar(PETS, link="/etc/passwd"), "member 'dog/link.png' is no regular file"),
    Case(
        "a name twice", zipped(PETS | {"cat/x.png": b""}).replace(b"x.png", b"a.png"), "member 'cat/a.png' comes twice"
    ),
    Case(
        "something after the end", zipped(PETS) + b"more", "images.tar is a damaged archive (something follows its end)"
    ),
    Case("a wrong checksum in a zip", zipped(PETS).replace(b"IDAT", b"IDAX", 1), "is a damaged archive (Bad CRC-32"),
    Case("macOS's `._*`, `.DS_Store`", pets(b"x", "cat/._a.png"), accepted="left out"),
    Case("an archive in the archive", pets(zipped(PETS), "more.zip"), accepted="not opened"),
]


COMPRESSED = [
    Case("bzip2 without the name", bz2.compress(CSV), accepted="read as what it is"),
    Case("xz without the name", lzma.compress(CSV), accepted="read as what it is"),
    Case(
        "several streams one after the other", gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]), accepted="read as one"
    ),
    Case("truncated", gzip.compress(CSV)[:-5], "rows.csv is a damaged gzip file (Truncated compressed stream)"),
    Case("something after the end", lzma.compress(CSV) + b"more", "rows.csv is a damaged xz file"),
    Case(
        "a wrong checksum", gzip.compress(CSV)[:-8] + bytes(8), "rows.csv is a damaged gzip file (zlib inflate failed"
    ),
    Case(
        "65 MiB in 20 KB",
        lzma.compress(CSV) + lzma.compress(b"\n" * (1 << 20)) * 65,
        "bytes) decompresses to more than 67108864 bytes: it may be made to fill memory or disk",
    ),
    Case(
        "an xz file that asks for 512 MiB of memory",
        lzma.compress(CSV, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]),
        "Memory usage limit",
    ),
]

GROUPS: dict[str, tuple[Format, list[Case]]] = {
    "Delimited text: columns": (DELIMITED, COLUMNS),
    "Delimited text: rows and characters": (DELIMITED, TEXT),
    "Values, in any table": (DELIMITED, VALUES),
    "JSON lines": (JSON_LINES, JSONS),
    "Parquet": (PARQUET, PARQUETS),
    "idx": (IDX, IDXS),
    "Images": (ARCHIVE, PICTURES),
    "Archives": (ARCHIVE, ARCHIVES),
    "Compressed files": (DELIMITED, COMPRESSED),
}
CASES = [
    pytest.param(form, case, id=f"{group}: {case.input}") for group, (form, cases) in GROUPS.items() for case in cases
]


class Project:
    """A project whose pipeline `small` has ingested a good version."""

    def __init__(self, root: Path, form: Format) -> None:
        self.root, self.form, self.paths = root, form, PipelinePaths(root, "small")

    def write(self, content: bytes | dict[str, bytes], **changes: Any) -> None:
        """Put the source into its folder, and what params.yaml says of it."""
        files = {next(iter(self.form.files)): content} if isinstance(content, bytes) else content
        (self.root / "hostile").mkdir(parents=True, exist_ok=True)
        for name, one in files.items():
            (self.root / "hostile" / name).write_bytes(one)
        params = {"pipelines": ["small"], "small": section({**self.form.ingest, **changes})}
        (self.root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")

    def published(self) -> dict[str, bytes]:
        """All that later stages and users read of the last version."""
        files = [*(self.root / "data").rglob("*"), *(self.root / "reports").rglob("*")]
        return {str(file): file.read_bytes() for file in files if file.is_file() and self.paths.raw not in file.parents}

    def rows(self) -> list[tuple[Any, ...]]:
        return shards.scan(self.paths.examples).drop(ADDED, strict=False).collect().rows()

    def temporary_files(self) -> list[str]:
        kept = (".headrace", ".copies.json")
        return [one.name for one in self.root.rglob(".*") if one.name not in kept and one.suffix != ".lock"]

    def copy(self, root: Path) -> "Project":
        shutil.copytree(self.root, root)
        return Project(root, self.form)


def section(ingest: dict[str, Any]) -> dict[str, Any]:
    fitting = {"number": {"kind": "impute", "strategy": "median"}, "category": {"kind": "one_hot"}}
    chains = {
        name: [fitting.get(feature["type"], {"kind": "scale_pixels"})] for name, feature in ingest["features"].items()
    }
    return {
        "description": "A small table",
        "ingest": ingest,
        "normalize": {"transforms": chains},
        "split": {"seed": 1, "validation_fraction": 0.1},
        "train": {
            "model": {"layers": []},
            "optimizer": {"kind": "adam", "learning_rate": 0.01},
            "global_batch_size": 8,
            "epochs": 1,
        },
        "evaluate": {},
        "register": {"thresholds": {}, "compare": {"metric": "loss"}},
    }


@pytest.fixture
def headrace(monkeypatch, capsys):
    """Runs a command in a project's folder by the function that `headrace` is; gives exit code and standard error."""

    def run(project: Project, stage: str = "ingest") -> tuple[int, str]:
        monkeypatch.chdir(project.root)
        monkeypatch.setattr(sys, "argv", ["headrace", stage, "small"])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Gives a project of a format that has a good version, made once."""
    made: dict[int, Project] = {}

    def project(form: Format) -> Project:
        if id(form) not in made:
            made[id(form)] = Project(tmp_path_factory.mktemp("good"), form)
            made[id(form)].write(form.files)
            ingest(load_pipeline(made[id(form)].root / "params.yaml", "small"), made[id(form)].paths)
        return made[id(form)]

    return project


def ingest_in_a_process(project: Project, *before: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "headrace", "ingest", "small"]
    return subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("form", "case"), CASES)
def test_a_hostile_input(good, tmp_path, headrace, until_answered, form, case):
    project = good(form).copy(tmp_path / "a project")
    before = project.published()
    project.write(case.content, **case.changes)
    with until_answered():
        code, said = headrace(project)
    assert (code, "Traceback" in said) == (case.exit_code, False), said
    assert all(line.isprintable() for line in said.splitlines())
    assert project.temporary_files() == []
    if case.refused:
        assert case.refused in said
        assert project.published() == before
    else:
        expected = form.rows if case.rows is None else case.rows
        assert sorted(map(repr, project.rows())) == sorted(map(repr, expected))
        rejected = pl.read_parquet(project.paths.rejected).iter_rows(named=True)
        assert tuple(map(describe, rejected)) == case.rejected


@pytest.mark.parametrize("name", ["a row too short", "a missing label", "CRLF"])
def test_a_process_ends_with_the_same_exit_code(good, tmp_path, name):
    [case] = [case for case in [*TEXT, *VALUES] if case.input == name]
    project = good(DELIMITED).copy(tmp_path / "a project")
    project.write(case.content, **case.changes)
    ended = ingest_in_a_process(project)
    assert ended.returncode == case.exit_code, ended.stderr
    assert case.refused in ended.stderr


def test_the_version_before_a_refusal_is_used_on(good, tmp_path, headrace):
    project = good(DELIMITED).copy(tmp_path / "a project")
    project.write(CSV.replace(b"0.5", b"tall"))
    assert headrace(project)[0] == 2
    refused = pl.read_parquet(project.paths.refused / "rejected.parquet")
    assert [describe(row) for row in refused.iter_rows(named=True)] == [
        "rows.csv, row 3, column 'size': expected a number, found 'tall'"
    ]
    assert headrace(project, "normalize")[0] == 0
    assert pl.read_parquet(project.paths.normalized / "*.parquet").height == 3
    project.write(CSV)
    assert headrace(project)[0] == 0
    assert json.loads(project.paths.ingest_metrics.read_text())["rows_kept"] == 3


def test_every_case_is_documented_in_these_words(repository):
    page = (repository / "docs" / "data-safety.md").read_text(encoding="utf-8")
    sections = {title: text for title, _, text in (part.partition("\n") for part in page.split("\n## ")[1:])}
    for group, (_, cases) in GROUPS.items():
        rows = [f"| {case.input} | {case.happens} | {case.exit_code} |" for case in cases]
        found = [line for line in sections[group].splitlines() if line.startswith("| ")]
        assert found[1:] == rows, group
