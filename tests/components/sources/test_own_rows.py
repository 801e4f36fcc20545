"""Rows of a function of the project's own: what it may give, and what is written of it."""

import hashlib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError
from headrace.components.sources.own_rows import writer
from headrace.components.sources.own_rows.source import PythonSource
from headrace.components.sources.raw_files import OwnRows

HEAD = "import polars as pl\nimport pyarrow as pa\n"
DAY = {"start": "2026-11-20", "end": "2026-11-21T01:00:00+01:00"}


def project(root: Path, text: str, *, name: str = "crm") -> Path:
    (root / "sources").mkdir(exist_ok=True)
    (root / "sources" / f"{name}.py").write_text(HEAD + text, encoding="utf-8")
    return root


def source_of(**changes: Any) -> PythonSource:
    return PythonSource.model_validate({"kind": "python", "file": "sources/crm.py", **changes})


def written(root: Path, **changes: Any) -> Path:
    file = root / "rows.parquet"
    source_of(**changes).write(root, file)
    return file


def rows(root: Path, text: str, **changes: Any) -> list[tuple[Any, ...]]:
    return pl.read_parquet(written(project(root, text), **changes)).rows()


GIVES = [
    "def rows():\n    yield pl.DataFrame({'x': ['a']})\n    yield pl.DataFrame({'x': ['b']})",
    "def rows():\n    for x in 'ab':\n        yield pa.record_batch({'x': [x]})",
    "def rows():\n    yield pa.table({'x': ['a']})\n    yield pl.DataFrame({'x': ['b']})",
    "def rows():\n    return pl.DataFrame({'x': ['a', 'b']}, schema={'x': pl.Categorical})",
    "def rows():\n    return pa.table({'x': pa.array(['a', 'b'], pa.string_view())})",
    "def rows():\n    return [pa.record_batch({'x': [x]}) for x in 'ab']",
    "def rows():\n    return pa.RecordBatchReader.from_batches(pa.schema({'x': pa.string()}), "
    "[pa.record_batch({'x': [x]}) for x in 'ab'])",
    "def rows():\n    yield pl.DataFrame({'x': []}, schema={'x': pl.String})\n"
    "    yield pl.DataFrame({'x': ['a', 'b']})",
]


def test_batches_of_every_kind_give_the_same_bytes(tmp_path: Path) -> None:
    files = [written(project(tmp_path, text)).read_bytes() for text in GIVES]
    assert pl.read_parquet(files[0]).rows() == [("a",), ("b",)]
    assert set(files) == {files[0]}


def test_columns_go_by_name(tmp_path: Path) -> None:
    text = "def rows():\n    yield pl.DataFrame({'x': [1], 'y': ['a']})\n    yield pl.DataFrame({'y': ['b'], 'x': [2]})"
    assert rows(tmp_path, text) == [(1, "a"), (2, "b")]


@settings(max_examples=15, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.none() | st.integers(-9, 9), st.none() | st.text(max_size=5)), min_size=1, max_size=60
    ),
    cuts=st.sets(st.integers(1, 59)),
    block_rows=st.integers(1, 9),
)
def test_bytes_do_not_depend_on_how_the_rows_are_cut(tmp_path_factory, values, cuts, block_rows) -> None:
    folder = tmp_path_factory.mktemp("rows")
    table = pl.DataFrame(values, schema={"x": pl.Int64, "y": pl.String}, orient="row").to_arrow()
    bounds = [0, *sorted(cut for cut in cuts if cut < len(values)), len(values)]
    pieces = [table.slice(start, end - start) for start, end in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_BLOCK_ROWS", block_rows)
        patch.setattr(writer, "_GROUP_ROWS", 3 * block_rows)
        patch.setattr(writer, "_GROUP_BYTES", 200)
        for number, tables in enumerate(([table], pieces)):
            writer.write_tables(tables, folder / f"{number}.parquet", place="crm.py: rows")
    assert (folder / "0.parquet").read_bytes() == (folder / "1.parquet").read_bytes()
    assert pl.read_parquet(folder / "1.parquet").rows() == values


def test_row_groups_are_bounded_in_rows_and_in_bytes(tmp_path: Path) -> None:
    text = "def rows(*, length: int, count: int):\n    for n in range(0, count, 50_000):\n"
    text += "        yield pl.DataFrame({'x': range(n, n + 50_000)}).with_columns(y=pl.lit('a' * length))"
    short, long = (
        pq.ParquetFile(written(project(tmp_path, text), arguments={"length": length, "count": count})).metadata
        for length, count in ((1, 200_000), (4000, 50_000))
    )
    assert [short.row_group(number).num_rows for number in range(short.num_row_groups)] == [
        1 << 17,
        200_000 - (1 << 17),
    ]
    assert long.row_group(0).num_rows == 5 * 4096


def test_a_function_gets_its_interval_with_a_zone_and_its_arguments_as_annotated(tmp_path: Path) -> None:
    text = "from datetime import datetime, date\n"
    text += "def rows(table: str, *, start: datetime, end: datetime, since: date):\n"
    text += "    yield pl.DataFrame([{'table': table, 'since': since, 'start': start, 'end': end}])"
    arguments = {"table": "orders", "since": "2026-01-02"}
    midnights = [datetime(2026, 11, day, tzinfo=UTC) for day in (20, 21)]
    [(table, since, *bounds)] = rows(tmp_path, text, arguments=arguments, interval=DAY)
    assert (table, since.isoformat(), bounds) == ("orders", "2026-01-02", midnights)


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        ("def rows(): pass", False),
        ("def rows(start): pass", False),
        ("def rows(start, end=None): pass", True),
        ("def rows(*, start, end, size=3): pass", True),
        ("def rows(**others): pass", True),
    ],
)
def test_the_text_of_a_function_says_whether_it_takes_an_interval(tmp_path: Path, function: str, takes: bool) -> None:
    assert source_of().is_by_interval(project(tmp_path, function)) is takes


def test_without_an_interval_nothing_is_passed(tmp_path: Path) -> None:
    text = "def rows(start=None, end=None):\n    yield pl.DataFrame({'x': [str(start)]})"
    assert rows(tmp_path, text) == [("None",)]


def test_a_function_that_needs_an_interval_is_refused_without_one_before_it_runs(tmp_path: Path) -> None:
    text = "raise SystemExit('ran')\ndef rows(*, start, end=None): pass"
    source_of().code(project(tmp_path, text))  # a scheduled run has an interval
    with pytest.raises(ParamsError, match=r"^sources/crm.py:4: rows: needs start; set ingest.source.interval"):
        written(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arguments": {"start": "2026-11-20"}}, "arguments.start: start and end are the interval's"),
        ({"file": "../crm.py"}, "expected the path of a Python file inside the project"),
        ({"sha256": "abc"}, "should match pattern"),
        ({"interval": {"start": "2026-11-20", "end": "2026-11-20"}}, "is not before end"),
    ],
)
def test_settings_that_can_not_be_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        source_of(**changes)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        ("def row(): pass", {}, "sources/crm.py: no function 'rows'; did you mean 'row'"),
        ("from sources.other import rows", {}, "'rows' is no function of this file; name the file that defines it"),
        ("async def rows(): yield", {}, "rows is an async function; expected one without async"),
        ("def rows(size: int): pass", {}, "sources/crm.py:3: rows: needs the argument 'size'"),
        ("def rows(): pass", {"arguments": {"size": 3}}, "rows: takes no argument 'size'"),
        ("def rows(): pass", {"interval": DAY}, "rows: takes no argument 'start'"),
        ("def rows(:", {}, "sources/crm.py:3: not Python"),
        ("def rows(): pass", {"file": "sources/none.py"}, "sources/none.py: no such file"),
    ],
)
def test_code_that_can_not_be_called_is_refused_without_running_it(tmp_path, text, changes, said) -> None:
    with pytest.raises(ParamsError, match=said):
        source_of(**changes).code(project(tmp_path, f"{text}\nraise SystemExit('ran')"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", r"^sources/crm.py:4: ZeroDivisionError: division by zero$"),
        (
            "yield pl.DataFrame({'x': [1]})\n    raise OSError('no line to the CRM')",
            "crm.py:5: OSError: no line to the",
        ),
        ("yield pl.DataFrame({'x': [1]}).select('y')", "sources/crm.py:4: ColumnNotFoundError"),
        ("return 3", "sources/crm.py: rows returned int, expected a generator of pyarrow.RecordBatch"),
        ("return pl.LazyFrame({'x': [1]})", "rows returned polars.LazyFrame, expected a generator"),
        ("yield pl.DataFrame({'x': [1]})\n    yield {'x': 2}", "rows, batch 2: expected a pyarrow.*, found dict"),
    ],
)
def test_what_the_code_does_wrong_is_one_line(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        rows(tmp_path, f"def rows():\n    {body}")


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "sources/crm.py: rows gave no rows"),
        (["pl.DataFrame({'x': []})"], "rows gave no rows"),
        (
            ["{'x': [1]}", "{'x': ['a']}"],
            "batch 2: column 'x': expected int64, as in the first batch, found large_string",
        ),
        (["{'x': [1]}", "{'x': [1]}", "{'y': [1]}"], "batch 3: column 'x': expected int64, .* found no such column"),
        (
            ["{'x': [1]}", "{'x': [1], 'y': [1]}"],
            "column 'y': expected no such column, as in the first batch, found int64",
        ),
        (
            ["{'x': [None]}", "{'x': [1]}"],
            "batch 2: column 'x': expected null, .*, found int64; give all batches one schema",
        ),
        (["pa.table([[1], [2]], names=['x', 'x'])"], "batch 1: column 'x' is there 2 times"),
        (["pa.table({'x': pa.array([b'12'], pa.binary()).cast(pa.binary())})", "{'x': [1]}"], "expected large_binary"),
        (
            ["pa.table({'x': pa.array([(1, 2, 3)], pa.month_day_nano_interval())})"],
            "a Parquet file can't hold month_day",
        ),
    ],
)
def test_rows_that_are_none_or_differ_are_refused(tmp_path: Path, batches: list[str], said: str) -> None:
    given = [one if one.startswith("p") else f"pl.DataFrame({one})" for one in batches]
    text = "".join(f"    yield {one}\n" for one in given)
    with pytest.raises(DataError, match=said):
        rows(tmp_path, f"def rows():\n{text}    return\n    yield")


def test_a_generator_is_closed_while_its_code_can_be_imported(tmp_path: Path) -> None:
    project(tmp_path, "def close():\n    open('closed', 'w').close()", name="line")
    text = "def rows():\n    try:\n        yield pl.DataFrame({'x': [1]})\n        yield 3\n"
    text += (
        f"    finally:\n        from sources.line import close\n        open({str(tmp_path / 'closed')!r}, 'w').close()"
    )
    with pytest.raises(ParamsError, match="batch 2: expected"):
        rows(tmp_path, text)
    assert (tmp_path / "closed").exists()


def test_a_pin_names_the_rows_that_were_meant_and_those_that_came(tmp_path: Path) -> None:
    text = "def rows(*, x: int = 1):\n    yield pl.DataFrame({'x': [x]})"
    sha256 = hashlib.sha256(written(project(tmp_path, text)).read_bytes()).hexdigest()
    assert rows(tmp_path, text, sha256=sha256) == [(1,)]
    with pytest.raises(
        DataError, match=rf"^sources/crm.py: rows gave other rows .*expected {sha256}, found [0-9a-f]{{64}}"
    ):
        rows(tmp_path, text, sha256=sha256, arguments={"x": 2})


def test_an_annotation_that_is_not_imported_is_one_line(tmp_path: Path) -> None:
    text = "def rows(size: 'Size' = 1):\n    yield pl.DataFrame({'x': [1]})"
    with pytest.raises(ParamsError, match="an annotation needs an import at the top of the file: name 'Size'"):
        rows(tmp_path, text)


def test_one_file_is_needed(tmp_path: Path) -> None:
    [needed] = source_of().raw_files(None)  # type: ignore[arg-type]
    assert isinstance(needed, OwnRows)
    assert needed.name == "rows.parquet"
