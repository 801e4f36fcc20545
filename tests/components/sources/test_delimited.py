import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.sources.delimited.reader import read_delimited_file, read_delimited_part
from headrace.components.sources.delimited.source import DelimitedFile, DelimitedPart

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)


def read(folder, *contents: bytes, columns=("a", "b"), names=None, separator=",", null_values=("",)):
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"file{number}.csv")
        paths[-1].write_bytes(content)
    files = tuple(
        DelimitedFile(name=path.name, url="https://example.org/", sha256="0" * 64, columns=names) for path in paths
    )
    part = DelimitedPart(files=files, given_split="train")
    return read_delimited_part(part, paths, columns=columns, separator=separator, null_values=null_values)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n,y\n",
        b"a,b\r\n1,x\r\n,y\r\n",
        b"a,b\n1,x\n,y",  # no line end at the end
        b"\xef\xbb\xbfa,b\n1,x\n,y\n",  # a byte order mark
        b"b,a\nx,1\ny,\n",  # another order
        b"a,c,b,c\n1,8,x,9\n,8,y,9\n",  # columns that are no features, even twice
        b'"a","b"\n"1","x"\n"","y"\n',
        b'a,"c\nd",b\n1,0,x\n,0,y\n',  # a line end in the header
        b"a,b\n\n1,x\n\n,y\n",  # empty lines
    ],
)
def test_columns_are_read_as_text(tmp_path, content) -> None:
    assert read(tmp_path, content).table.to_dict(as_series=False) == {"a": ["1", None], "b": ["x", "y"]}


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_every_quoted_text_comes_back_unchanged(tmp_path_factory, rows) -> None:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    part = read(tmp_path_factory.getbasetemp(), stream.getvalue().encode(), null_values=())
    assert part.table.rows() == rows


def test_tabs_and_other_null_values(tmp_path) -> None:
    part = read(tmp_path, b"a\tb\n1\tNA\n", separator="\t", null_values=("NA",))
    assert part.table.rows() == [("1", None)]


def test_columns_take_the_place_of_the_header(tmp_path) -> None:
    part = read(tmp_path, b"#Speed(km/h),Weight\n1,2\n", names=("a", "b"))
    assert part.table.rows() == [("1", "2")]


def test_files_stand_side_by_side(tmp_path) -> None:
    part = read(tmp_path, b"b\n2\n4\n", b"a\n1\n3\n")
    assert part.table.rows() == [("1", "2"), ("3", "4")]
    assert part.files == {"b": "file0.csv", "a": "file1.csv"}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([b"a,b\n1,2\n3\n"], r"file0\.csv, row 2: expected 2 values, found 1 in '3'"),
        ([b"a,b\n1,2\n3,4,5\n"], r"file0\.csv, row 2: expected 2 values, found 3 in '3,4,5'"),
        ([b"a,B \n1,2\n"], "no column 'b'; found a, B ; did you mean 'B '"),
        ([b"a,c\n1,2\n"], "no column 'b'; found a, c$"),
        ([b"a,b,b\n1,2,3\n"], "column 'b' occurs 2 times; found a, b, b"),
        ([b"a,b\n1,2\n", b"b\n1\n"], r"file0\.csv and file1\.csv: column 'b' occurs 2 times"),
        ([b"a\n1\n2\n", b"b\n1\n"], r"equally many rows, found file0\.csv 2, file1\.csv 1"),
        ([b""], "expected a header line"),
        ([b"\n1,2\n"], "expected a header line"),
        ([b"a,b"], "has a header line but no rows"),
        ([b"a,b\n"], "has a header line but no rows"),
        ([b"a,b\r\n\r\n"], "has a header line but no rows"),
        ([b'a,b\n1,2\n\n3,"4\n5,6\n'], r"file0\.csv, row 2: a value begins with a quote that is not closed"),
        ([b"a,b\n1,2\n\n3\n"], r"file0\.csv, row 2: expected 2 values"),  # rows are counted alike
        ([b'"a","b\n1,2\n'], r"file0\.csv, header line: a value begins with a quote that is not closed"),
        ([b"\xff\xfea\0,\0b\0"], "not delimited UTF-8 text"),
        ([b"a,b\n" + b"1,2\n" * 10_000 + b"\xff,1\n"], "row 10001: expected UTF-8 text"),
    ],
)
def test_a_wrong_file_is_named_with_what_was_expected_and_found(tmp_path, contents, message) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, *contents)


def test_columns_of_another_number_than_the_header_are_an_error(tmp_path) -> None:
    with pytest.raises(DataError, match=r"has 3 columns \(x, y, z\), but `columns` names 2 \(a, b\)"):
        read(tmp_path, b"x,y,z\n1,2,3\n", names=("a", "b"))


def test_a_row_is_named_wherever_arrow_cuts_and_may_be_longer_than_one_of_its_blocks(tmp_path) -> None:
    lines = [b"%d,text %d" % (number, number) for number in range(200_000)]  # three MiB
    for line_end in (b"\n", b"\r\n", b"\r"):
        content = b"a,b" + line_end + line_end.join(lines)
        assert read(tmp_path, content).table["b"].to_list() == [f"text {number}" for number in range(200_000)]
    for bad, message in ((b"1", "row 150001: expected 2 values"), (b"1,\xff", "row 150001: expected UTF-8 text")):
        with pytest.raises(DataError, match=message):
            read(tmp_path, b"a,b\n" + b"\n".join([*lines[:150_000], bad, *lines[150_000:]]))
    long = b"1," + b"x" * (3 << 20)
    table = read(tmp_path, b"a,b\n" + b"\n".join([*lines[:150_000], long, *lines[150_000:]])).table
    assert table.height == 200_001
    assert len(table["b"][150_000]) == 3 << 20


def test_of_one_file_optional_columns_are_given_where_it_has_them(tmp_path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"id,c,a,c\n01,8,x,9\n")
    table = read_delimited_file(
        tmp_path / "rows.csv", columns=["a"], optional=["id", "absent"], separator=",", null_values=["x"]
    )
    assert table.to_dict(as_series=False) == {"a": [None], "id": ["01"]}


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_hostile_bytes_give_a_table_or_an_error_that_names_the_file(tmp_path_factory, content) -> None:
    try:
        read(tmp_path_factory.getbasetemp(), b"a,b\n" + content)
    except DataError as error:
        assert "file0.csv" in str(error)
