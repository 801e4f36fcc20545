import csv

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.errors import DataError
from components.sources.quotes import require_closed_quotes


def check(folder, content: bytes, *, separator=",") -> None:
    file = folder / "a.csv"
    file.write_bytes(content)
    require_closed_quotes(file, separator=separator, longest_value=1 << 24)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'"a","b"\n"1","2"',
        b'\xef\xbb\xbf"a",b\n1,2\n',  # a byte order mark
        b'a,b\n1,"say ""hi"""\n"""",""\n',
        b'a,b\n1,"two\nlines"\r\n2,"two\r\nlines, and a "" quote"\n',
        b'a,b\n5" pipe,2\n',  # an odd number of quotes, none of which begins a value
        b'a,b\n5" pipe,"two\nlines"\n1, "x\n',
        b"a,b\n" + b'"x","' + b"y" * 200_000 + b'"\n5",2\n',  # longer than Python's csv allows unless told
    ],
)
def test_closed_quotes_pass(tmp_path, content) -> None:
    check(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'a,b\n1,2\n3,"4\n5,6\n', "row 2"),
        (b'a,b\n1,2\n3,"4', "row 2"),
        (b'a,b\n"1\n1",2\n\n3,4\n5,"6\n', "row 3"),  # neither a line in a value nor an empty one is a row
        (b'a,b\n1,"""\n2,3\n', "row 1"),
        (b'a,b\n1,"2\n3,"4"\n5,6\n', "row 1"),  # swallows up to the next quote only
        (b'a,b\n1,"2\n3,"4\n5,6\n', "row 1"),  # an even number of quotes
        (b'a,b\n5" pipe,2\n3,"4\n', "row 2"),  # likewise
        (b'a,b\n1,"say "hi""\n', "row 1"),
        (b'a,"b\n1,2\n', "header line"),
        (b'a,b\n1,"\xff\n', "row 1"),
        (b'a,b\n1,2\n3,"' + b"4,5\n" * 50_000, "row 2"),  # longer than Python's csv allows unless told
    ],
)
def test_the_row_whose_quote_is_not_closed_is_named_with_what_to_do(tmp_path, content, where) -> None:
    with pytest.raises(DataError, match=rf"^a\.csv, {where}: .* not closed .*; close it there, and double every quote"):
        check(tmp_path, content)


@pytest.mark.parametrize("shift", range(-3, 4))
def test_quotes_at_the_border_of_two_blocks_are_seen(tmp_path, shift) -> None:
    head = b"a,b\n1," + b"x" * ((1 << 20) - 7 + shift)
    check(tmp_path, head + b'\n"y ""z""","1"\n')
    with pytest.raises(DataError, match="row 2"):
        check(tmp_path, head + b'\n"y ""z"",1\n')


@given(st.text('a",\n\r;', max_size=12), st.sampled_from(",;"))
@example('"', ",")
@example('"";"a', ";")
@settings(max_examples=300, deadline=None)
def test_the_verdict_is_that_of_a_strict_reader(tmp_path_factory, text, separator) -> None:
    try:
        list(csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True))
    except csv.Error:
        with pytest.raises(DataError):
            check(tmp_path_factory.getbasetemp(), text.encode(), separator=separator)
    else:
        check(tmp_path_factory.getbasetemp(), text.encode(), separator=separator)


def test_pythons_own_limit_stays_as_it_was(tmp_path) -> None:
    before = csv.field_size_limit()
    with pytest.raises(DataError):
        check(tmp_path, b'a\n"')
    assert csv.field_size_limit() == before
