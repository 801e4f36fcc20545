"""The file of a query: one statement, and the parameters in it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.components.sources.sql.query import Query


def read(root: Path, text: str) -> Query:
    (root / "rows.sql").write_text(text, encoding="utf-8")
    return Query.read(root, "rows.sql")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ';' -- ; :interval_start\n;\n  -- the end\n",
        "SELECT 1 AS \";\", e'\\';' /* ; */",
        "SELECT $$ ; ' :interval_start $$, $a$ ; $$ $a$, x::int FROM t",
        "SELECT `;` FROM t;",
        "SELECT 1",
    ],
)
def test_only_what_counts_ends_a_statement_or_is_a_parameter(tmp_path: Path, text: str) -> None:
    query = read(tmp_path, text)
    assert query.parameters == ()
    assert query.text == (text[: text.rindex(";")] if text.rstrip().endswith((";", "end")) else text)


def test_parameters_are_replaced_where_they_are_and_lines_stay(tmp_path: Path) -> None:
    query = read(
        tmp_path, "SELECT ':interval_start' AS x\nFROM t WHERE a >= :interval_start AND b < :interval_end::date"
    )
    assert query.parameters == ("interval_start", "interval_end")
    assert query.with_parameters({"interval_start": "$1", "interval_end": "$2"}) == (
        "SELECT ':interval_start' AS x\nFROM t WHERE a >= $1 AND b < $2::date\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rows.sql: expected one SELECT, found no statement"),
        (" -- nothing\n/* at all */ ;", "found no statement"),
        ("SELECT 1;\n\nDELETE FROM t", "rows.sql:3: expected one SELECT, found a second statement"),
        ("SELECT 1;;", "rows.sql:1: expected one SELECT, found a second"),
        ("SELECT '\0'", "found no statement"),
    ],
)
def test_none_and_several_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"^none.sql: no such file in the project"):
        Query.read(tmp_path, "none.sql")
    (tmp_path / "rows.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(ParamsError, match=r"^rows.sql: expected SQL in UTF-8"):
        Query.read(tmp_path, "rows.sql")


@given(text=st.text(alphabet=" ;'\"$-/*:e\\\nax_[]`", max_size=40))
def test_any_text_is_read_or_refused(tmp_path_factory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        query = read(folder, text)
    except ParamsError:
        return
    assert query.with_parameters({}) == query.text + "\n"
    assert text.replace("\r\n", "\n").startswith(query.text)
