import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.sources.delimited.row_blocks import RowBlock, cut_rows, read_header, require_closed_quotes
from headrace.components.sources.raw_part import RowError

texts = st.text('a",\n\r;', max_size=30)


def cut(content: bytes, *, separator=",", block_bytes=1 << 20) -> list[RowBlock]:
    return list(cut_rows(io.BytesIO(content), separator=separator, block_bytes=block_bytes))


def check(content: bytes, *, separator=",", block_bytes=1 << 20) -> None:
    for block in cut(content, separator=separator, block_bytes=block_bytes):
        if not block.is_regular:
            require_closed_quotes(block, file="a.csv", separator=separator)


def strict_rows(text: str, separator=",") -> list[list[str]]:
    return [row for row in csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True) if row]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'"1","2"',
        b'1,"say ""hi"""\n"""",""\n',
        b'1,"two\nlines"\r\n2,"two\r\nlines, and a "" quote"\n',
        b'5" pipe,2\n',  # an odd number of quotes, none of which begins a value
        b'5" pipe,"two\nlines"\n1, "x\n',
        b'"x","' + b"y" * 200_000 + b'"\n5",2\n',  # longer than Python's csv allows by default
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
def test_closed_quotes_pass(content, block_bytes) -> None:
    check(content, block_bytes=max(block_bytes, len(content) // 100))


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b'1,2\n3,"4\n5,6\n', 2),
        (b'1,2\n3,"4', 2),
        (b'"1\n1",2\n\n3,4\n5,"6\n', 3),  # neither a line in a value nor an empty one is a row
        (b'1,"""\n2,3\n', 1),
        (b'1,"2\n3,"4"\n5,6\n', 1),  # swallows up to the next quote only
        (b'1,"2\n3,"4\n5,6\n', 1),  # an even number of quotes
        (b'5" pipe,2\n3,"4\n', 2),  # likewise
        (b'1,"say "hi""\n', 1),
        (b'1,"\xff\n', 1),
        (b'1,2\n3,"' + b"4,5\n" * 50_000, 2),  # longer than Python's csv allows by default
    ],
)
def test_the_row_whose_quote_is_not_closed_is_named_with_what_to_do(content, row) -> None:
    rows_before = 0
    with pytest.raises(RowError, match=r"not closed .*; close it there, and double every quote") as caught:
        for block in cut(content):
            if not block.is_regular:
                require_closed_quotes(block, file="a.csv", separator=",")
            rows_before += len(strict_rows(block.content.decode()))
    assert str(caught.value.after(rows_before)).startswith(f"a.csv, row {row}: ")


@given(texts, st.sampled_from(",;"), st.integers(1, 12))
@example('"', ",", 4)
@example('"";"a', ";", 2)
@settings(max_examples=400, deadline=None)
def test_the_verdict_is_that_of_a_strict_reader_wherever_blocks_end(text, separator, block_bytes) -> None:
    try:
        expected = strict_rows(text, separator)
    except csv.Error:
        with pytest.raises(DataError):
            check(text.encode(), separator=separator, block_bytes=block_bytes)
    else:
        check(text.encode(), separator=separator, block_bytes=block_bytes)
        blocks = cut(text.encode(), separator=separator, block_bytes=block_bytes)
        assert b"".join(block.content for block in blocks) == text.encode()
        assert [row for block in blocks for row in strict_rows(block.content.decode(), separator)] == expected


def test_blocks_are_not_much_longer_than_they_are_to_be() -> None:
    content = b'12,"a\nb"\n' * 1000
    assert max(len(block.content) for block in cut(content, block_bytes=100)) < 120


def test_a_row_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    blocks = cut(b"1," * (1 << 24), block_bytes=1 << 22)
    assert len(blocks[0].content) < (1 << 24) + (1 << 22) + 1
    with pytest.raises(RowError, match="row 1: longer than 16777216 bytes"):
        require_closed_quotes(blocks[0], file="a.csv", separator=",")


def test_old_line_ends_end_rows_too() -> None:
    assert len(cut(b"1,2\r3,4\r5,6\r", block_bytes=5)) > 1


@pytest.mark.parametrize(
    ("content", "names", "rest"),
    [
        (b"a,b\n1,2\n", ["a", "b"], b"1,2\n"),
        (b"\xef\xbb\xbfa,b\r\n1,2", ["a", "b"], b"1,2"),
        (b'"a\nb",c\n1,2\n', ["a\nb", "c"], b"1,2\n"),
        (b"a,b", ["a", "b"], b""),
        ("ö,b\n1".encode(), ["ö", "b"], b"1"),
    ],
)
def test_the_header_line_says_how_long_it_is(content, names, rest) -> None:
    header, end = read_header(io.BytesIO(content), file="a.csv", separator=",")
    assert (header, content[end:]) == (names, rest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a,"b\n1,2\n', "header line: a value begins with a quote that is not closed"),
        (b"", "expected a header line"),
        (b"\n1,2\n", "expected a header line"),
        ("a,b\n".encode("utf-16"), "begins as UTF-16 does: convert it"),
        (b"\xe4,b\n", "not delimited UTF-8 text"),
    ],
)
def test_a_header_line_that_is_none_is_refused(content, message) -> None:
    with pytest.raises(DataError, match=message):
        read_header(io.BytesIO(content), file="a.csv", separator=",")


def test_pythons_own_limit_stays_as_it_was() -> None:
    before = csv.field_size_limit()
    with pytest.raises(DataError):
        check(b'"')
    assert csv.field_size_limit() == before
