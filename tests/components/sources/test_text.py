"""Text in chunks: however long the file and its blocks are, every character is predicted once."""

import bz2
import gzip
import lzma

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.example_blocks import prepare
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.text import TextSource, text_blocks

SCHEMA = ExampleSchema.model_validate(
    {
        "features": {"text": {"type": "text", "length": 4}},
        "label": {"type": "next_token", "name": "text"},
        "key": ["file", "position"],
        "group": ["file", "passage"],
    }
)


def source(length: int, passage_chunks: int = 2) -> TextSource:
    files = {"root": "/somewhere"}
    return TextSource(dataset="text", files=files, length=length, passage_chunks=passage_chunks)


def read(folder, content: bytes, *, length=4, passage_chunks=2, block_bytes=1 << 24) -> tuple[pl.DataFrame, list[int]]:
    """The rows of a file, and what was reported of its end."""
    path = folder / "play.txt"
    path.write_bytes(content)
    rests: list[int] = []
    blocks = text_blocks(
        path,
        source=source(length, passage_chunks),
        on_rest=lambda _, rest: rests.append(rest),
        block_bytes=block_bytes,
    )
    return pl.concat(block.read().table for block in blocks), rests


def test_neighbours_share_a_character_and_the_rest_is_reported(tmp_path) -> None:
    rows, rests = read(tmp_path, b"abcdefghijklmno")
    assert rows.rows() == [
        ("abcde", "play.txt", "0", "0"),
        ("efghi", "play.txt", "4", "0"),
        ("ijklm", "play.txt", "8", "1"),
    ]
    assert rests == [2]


@settings(deadline=None, max_examples=60)
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60),
    length=st.integers(1, 7),
    passage_chunks=st.integers(1, 3),
    block_bytes=st.integers(1, 9),
)
def test_chunks_do_not_depend_on_blocks(tmp_path_factory, text, length, passage_chunks, block_bytes) -> None:
    folder = tmp_path_factory.mktemp("text")
    rows, rests = read(folder, text.encode(), length=length, passage_chunks=passage_chunks, block_bytes=block_bytes)
    text = text.removeprefix("\ufeff")
    starts = range(0, len(text) - length, length)
    assert rows["text"].to_list() == [text[start : start + length + 1] for start in starts]
    assert rows["position"].to_list() == [str(start) for start in starts]
    assert rows["passage"].to_list() == [str(place // passage_chunks) for place in range(len(starts))]
    unused = len(text) - (len(starts) * length + 1 if starts else 0)
    assert rests == ([unused] if unused else [])


def test_a_byte_order_mark_is_left_out_and_line_ends_stay(tmp_path) -> None:
    rows, _ = read(tmp_path, b"\xef\xbb\xbfa\r\nb\n")
    assert rows["text"].to_list() == ["a\r\nb\n"]


@pytest.mark.parametrize(
    "packed",
    [gzip.compress, bz2.compress, lzma.compress, lambda content: pa.compress(content, "zstd", asbytes=True)],
)
def test_compressed_files_are_read_as_plain_ones(tmp_path, packed) -> None:
    content = "Wer reitet so spät durch Nacht und Wind?\n".encode() * 3
    assert read(tmp_path, packed(content))[0].equals(read(tmp_path, content)[0])


@pytest.mark.parametrize("block_bytes", [1, 3, 1 << 24])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good \xff bad", "play.txt, byte 5: expected UTF-8 text, found ff"),
        (b"good \xc3", "play.txt, byte 5: expected UTF-8 text, found c3"),  # cut off within a character
        (b"\xef\xbb\xbfgood \xe4\xf6", "play.txt, byte 8: expected UTF-8 text, found e4"),
        ("caf\u00e9 and".encode("latin-1"), "play.txt, byte 3"),
    ],
)
def test_a_damaged_encoding_is_refused_by_its_byte(tmp_path, content, message, block_bytes) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, block_bytes=block_bytes)


def test_utf_16_is_reported_by_its_name(tmp_path) -> None:
    with pytest.raises(DataError, match="iconv -f UTF-16"):
        read(tmp_path, "hello".encode("utf-16"))


def test_a_file_shorter_than_a_chunk_has_no_rows_and_is_reported(tmp_path) -> None:
    rows, rests = read(tmp_path, b"abcd")
    assert (rows.height, rests) == (0, [4])


def test_chunks_become_examples_with_the_ids_of_their_places(tmp_path) -> None:
    path = tmp_path / "play.txt"
    path.write_bytes(b"abcdabcdabcda")
    [block] = text_blocks(path, source=source(4), on_rest=lambda *_: None)
    prepared = prepare(block, tmp_path / "run.arrow", schema=SCHEMA)
    table = pl.read_ipc(tmp_path / "run.arrow")
    assert table["text"].to_list() == ["abcda"] * 3  # the same text at three places
    assert table["example_id"].n_unique() == 3
    assert (table["group_id"].n_unique(), prepared.rows_read, prepared.rejected.height) == (2, 3, 0)


def test_a_column_that_chunks_do_not_have_is_refused() -> None:
    schema = SCHEMA.model_copy(update={"key": ("line",)})
    with pytest.raises(ParamsError, match="no column 'line'; a source of kind 'text' gives text, file"):
        source(4).check_schema(schema)
