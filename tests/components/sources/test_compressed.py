"""Compressed files, whole and damaged. What a reader gives is checked to its end: only there are checksums compared."""

import bz2
import gzip
import lzma
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.sources.compressed import HARMLESS_BYTES, compression, open_plain

CONTENT = np.random.default_rng(1).bytes(5000) + b"a,b\n" * 500_000
PACK = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}
COMPRESSED = [kind for kind in PACK if kind != "plain"]
EMPTY_ZSTD_FRAME_TO_SKIP = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"abcd"


def read(folder, content: bytes, **limits: int) -> bytes:
    path = folder / "file.csv"
    path.write_bytes(content)
    with open_plain(path, **limits) as stream:
        return stream.read()


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("content", [CONTENT, b""], ids=["much", "nothing"])
def test_the_bytes_are_those_that_were_compressed(tmp_path, kind, content):
    assert read(tmp_path, PACK[kind](content)) == content
    assert compression(tmp_path / "file.csv") == kind


@pytest.mark.parametrize("kind", COMPRESSED)
def test_several_streams_are_one(tmp_path, kind):
    assert read(tmp_path, PACK[kind](b"one,") + PACK[kind](b"") + PACK[kind](b"two")) == b"one,two"


def test_a_zstd_file_may_begin_with_a_frame_to_be_skipped(tmp_path):
    assert read(tmp_path, EMPTY_ZSTD_FRAME_TO_SKIP + PACK["zstd"](b"content")) == b"content"


@pytest.mark.parametrize("text", [b"BZh9,name\n1,2\n", b"\x1f", b"PK\x03\x04", b"\0\0\x08\x01"])
def test_what_only_looks_like_it_is_plain(tmp_path, text):
    assert read(tmp_path, text) == text


@pytest.mark.parametrize("kind", COMPRESSED)
def test_every_truncation_is_an_error(tmp_path, kind):
    packed = PACK[kind](b"a,b\n1,2\n" * 3)
    shortest = 10 if kind == "bzip2" else 6 if kind == "xz" else 4  # shorter content is taken for plain
    for length in range(shortest, len(packed)):
        with pytest.raises(DataError, match=rf"file\.csv is a damaged {kind} file .*: fetch it again"):
            read(tmp_path, packed[:length])


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("tail", [b"garbage", b"\0" * 512, b"\n"], ids=["garbage", "zeros", "a line end"])
def test_what_follows_the_end_is_an_error(tmp_path, kind, tail):
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path, PACK[kind](CONTENT) + tail)


@pytest.mark.parametrize("place", [-8, -4], ids=["checksum", "length"])
def test_the_trailer_of_gzip_is_checked(tmp_path, place):
    packed = bytearray(gzip.compress(CONTENT))
    packed[place] ^= 1
    with pytest.raises(DataError, match=r"incorrect (data|length) check"):
        read(tmp_path, bytes(packed))


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_bomb_is_an_error_before_it_fills_memory(tmp_path, kind):
    bomb = PACK[kind](bytes(HARMLESS_BYTES + 1))
    with pytest.raises(DataError, match=r"file\.csv \(\d+ bytes\) decompresses to more than 67108864 bytes"):
        read(tmp_path, bomb)
    assert len(read(tmp_path, bomb, max_ratio=2_000_000)) == HARMLESS_BYTES + 1


@pytest.mark.parametrize("kind", PACK)
def test_more_than_the_largest_size_is_an_error(tmp_path, kind):
    assert len(read(tmp_path, PACK[kind](CONTENT), max_bytes=len(CONTENT))) == len(CONTENT)
    with pytest.raises(DataError, match=rf"more than|larger than {len(CONTENT) - 1}"):
        read(tmp_path, PACK[kind](CONTENT), max_bytes=len(CONTENT) - 1)


def test_an_xz_file_that_asks_for_much_memory_is_an_error(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    with pytest.raises(DataError, match="Memory usage limit exceeded"):
        read(tmp_path, lzma.compress(b"small", filters=filters))


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError), open_plain(tmp_path / "missing"):
        pass


def test_lines_are_read_as_from_any_file(tmp_path):
    (tmp_path / "lines").write_bytes(gzip.compress(b"a\nb\n"))
    with open_plain(tmp_path / "lines") as stream:
        assert list(stream) == [b"a\n", b"b\n"]


@pytest.mark.fuzz
@given(st.sampled_from(COMPRESSED), st.binary(max_size=300), st.data())
@settings(max_examples=200, deadline=None)
def test_hostile_bytes_give_content_or_an_error_that_names_the_file(tmp_path_factory, kind, content, data):
    packed = bytearray(PACK[kind](content))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        read(tmp_path_factory.getbasetemp(), bytes(packed))
    except DataError as error:
        assert "file.csv" in str(error)
