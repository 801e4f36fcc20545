import gzip

import pytest

from headrace.components.errors import DataError
from headrace.components.guess.sample import read_sample


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_separator_is_the_one_that_makes_the_target_a_column(tmp_path, separator, pack) -> None:
    (tmp_path / "rows").write_bytes(pack(f'a{separator}"b,;"{separator}c\n1{separator}2{separator}\n'.encode()))
    sample = read_sample(tmp_path / "rows", targets=["b,;"])
    assert (sample.separator, sample.is_whole) == (separator, True)
    assert sample.table.to_dicts() == [{"a": "1", "b,;": "2", "c": None}]


def test_a_column_without_a_name_of_its_own_is_left_out(tmp_path) -> None:
    (tmp_path / "rows").write_text(",a,b,a\n1,2,3,4\n")
    sample = read_sample(tmp_path / "rows", targets=["b"])
    assert sample.table.columns == ["b"]
    assert [(one.name, one.is_used) for one in sample.left_out] == [("a", False), ("", False)]


def test_of_a_long_file_the_beginning_is_read(tmp_path) -> None:
    (tmp_path / "rows").write_text("a,b\n" + "12345678,x\n" * 4_000_000)
    sample = read_sample(tmp_path / "rows", targets=["b"], most_bytes=1 << 20)
    assert not sample.is_whole
    assert 1 << 20 < 11 * sample.table.height < 1 << 25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a header line"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2,3\n", "row 1: expected 2 values, found 3"),
        ("a,c\n1,2\n", "expected one column 'b', the target, found 0 in a, c$"),
        ("a;c\n1;2\n", "found 0 in a, c$"),
        ("a,b,b\n1,2,3\n", "found 2 in a, b, b$"),
    ],
)
def test_a_file_without_rows_of_the_target_is_refused(tmp_path, content, message) -> None:
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_sample(tmp_path / "rows.csv", targets=["b"])
