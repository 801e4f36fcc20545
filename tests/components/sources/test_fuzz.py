"""Good files, damaged: every reader gives rows, or the error that names the file, and nothing else.

Archives and compressed files are damaged where the rest of them is tested. conftest.py says how `make fuzz` does it.
"""

import gzip
import io
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from headrace.components.errors import DataError
from headrace.components.examples.example_blocks import prepare
from headrace.components.schema.decoding import ImageError, decode_image, keep_image
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.delimited.reader import delimited_blocks, read_layout
from headrace.components.sources.idx import read_idx_part
from headrace.components.sources.json_lines import json_blocks
from headrace.components.sources.parquet.reader import parquet_blocks

SCHEMA = ExampleSchema.model_validate(
    {
        "key": ["id"],
        "features": {
            "size": {"type": "number", "nullable": True, "minimum": -1e9},
            "seen": {"type": "number", "nullable": True, "date_format": "iso"},
            "colour": {"type": "category", "pattern": "[a-z ]*"},
        },
        "label": {"type": "category", "name": "kind", "classes": ["0", "1"]},
    }
)
PICTURES = ExampleSchema.model_validate(
    {
        "features": {"image": {"type": "image", "height": 2, "width": 3}},
        "label": {"type": "category", "name": "digit", "classes": ["0", "1"]},
    }
)

COLUMNS = {
    "id": ["a", "b", "c"],
    "size": [1.5, None, -2e8],
    "seen": ["2026-11-20", None, "1969-12-31T23:59:59Z"],
    "colour": ["red", "light blue", "é"],
    "kind": ["0", "1", "0"],
}


def parquet(table: pa.Table, **options) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def picture(mode: str, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 4), np.uint8)
    Image.fromarray(pixels).convert("L" if mode == "I;16" else "RGBA").convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def idx(*shape: int) -> bytes:
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    return header + bytes(place % 2 for place in range(math.prod(shape)))


TABLE = pa.table(COLUMNS)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # lies on its side

SEEDS = {
    "idx": [idx(2, 2, 3), gzip.compress(idx(2, 2, 3)), idx(2, 2, 3, 1)],
    "delimited": [
        b"id,size,seen,colour,kind\n1,1.5,2026-11-20,red,0\n2,,,blue,1\n",
        b'\xef\xbb\xbfkind,"id",x,seen,colour,size\r\n0,"a ""b""",7,,"two\nlines",1e9\r\n1,c,,,5" pipe,-1\r\n',
        "id,size,seen,colour,kind\r1,0.5,2026-11-20T10:00:00+01:00,\u00e9,0\r".encode(),
    ],
    "json_lines": [
        b'{"id": 1, "size": 1.5, "seen": "2026-11-20", "colour": "red", "kind": 0}\n{"id": "b", "colour": "blue"}\n',
        b'\xef\xbb\xbf{"id": "\\ud83d\\ude00", "x": [{"y": null}], "size": -1e-300, "colour": "", "kind": true}\r\n',
    ],
    "parquet": [
        parquet(TABLE, write_page_checksum=True),
        parquet(TABLE, compression="none", use_dictionary=False, row_group_size=2),
        parquet(TABLE, compression="zstd", data_page_version="2.0", write_statistics=False),
    ],
    "image": [
        picture("RGB", "JPEG", quality=90, exif=EXIF),
        picture("L", "JPEG", progressive=True),
        picture("CMYK", "JPEG"),
        picture("RGBA", "PNG"),
        picture("P", "PNG", transparency=0),
        picture("I;16", "PNG"),
        picture("1", "PNG"),
        picture("P", "GIF"),
        picture("RGB", "BMP"),
        picture("RGBA", "WEBP", lossless=True),
        picture("RGB", "WEBP"),
    ],
}
TOKENS = {
    "idx": [b"\xff\xff\xff\xff", b"\0\0\x08", b"\0\0\0\0", b"\x1f\x8b"],
    "delimited": [b'"', b'""', b",", b"\n", b"\r", b"\xff", b"\0", b"NaN", b"1e999", b"9" * 40, b"\xef\xbb\xbf"],
    "json_lines": [b"{", b"}", b"[", b'"', b"\\u", b"\\ud800", b"NaN", b"-", b"1e999", b"null", b"\n", b'"id": 1,'],
    "parquet": [b"PAR1", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80" * 9, b"\x15\x02", b"\x19\x5c"],
    "image": [
        b"\xff\xd9",
        b"\xff\xc0",
        b"IEND",
        b"IDAT",
        b"\xff\xff\xff\xff",
        b"\x7f\xff",
        b"Exif\0\0",
        b"RIFF",
        b"GIF89a",
    ],
}


@st.composite
def damaged(draw, reader: str) -> bytes:
    """A good file after a few edits: bytes changed, left out, put in, taken twice or from another file."""
    seeds = SEEDS[reader]
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)) | st.integers(0, 40))
        length = draw(st.integers(0, 8) | st.integers(0, len(content)))
        other = draw(st.sampled_from(seeds))
        put = draw(st.binary(max_size=6) | st.sampled_from(TOKENS[reader]) | st.just(other[start : start + length]))
        content = content[:start] + put + content[start + draw(st.sampled_from([0, len(put), length])) :]
    return content[: draw(st.integers(0, len(content)) | st.just(len(content)))]


def read_idx(path: Path) -> None:
    labels = path.with_name("labels")
    labels.write_bytes(idx(2))
    part = read_idx_part(path, labels, image="image", label="digit", feature=IMAGE, given_split=None)
    assert prepare(part, path.with_name("run.arrow"), schema=PICTURES).rows_read == 2


def read_delimited(path: Path) -> None:
    layout = read_layout(path, columns=SCHEMA.source_columns, separator=",", null_values=("",))
    for block in delimited_blocks(path, layout):
        prepare(block, path.with_name("run.arrow"), schema=SCHEMA)


def read_json_lines(path: Path) -> None:
    for block in json_blocks(path, columns=SCHEMA.source_columns, block_bytes=64):
        prepare(block, path.with_name("run.arrow"), schema=SCHEMA)


def read_parquet(path: Path) -> None:
    for part in parquet_blocks(path, schema=SCHEMA):
        prepare(part, path.with_name("run.arrow"), schema=SCHEMA)


IMAGE = ImageFeature(height=2, width=3)
TABLES: dict[str, Callable[[Path], None]] = {
    "idx": read_idx,
    "delimited": read_delimited,
    "json_lines": read_json_lines,
    "parquet": read_parquet,
}


@pytest.mark.parametrize("reader", TABLES)
def test_the_files_are_good_before_they_are_damaged(tmp_path, reader):
    for content in SEEDS[reader]:
        (tmp_path / "good.file").write_bytes(content)
        TABLES[reader](tmp_path / "good.file")


@pytest.mark.fuzz
@pytest.mark.parametrize("reader", TABLES)
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_table_gives_rows_or_an_error_that_names_the_file(tmp_path_factory, reader, data):
    path = tmp_path_factory.getbasetemp() / "damaged.file"
    path.write_bytes(data.draw(damaged(reader)))
    try:
        TABLES[reader](path)
    except DataError as error:
        assert "damaged.file" in str(error) or "labels" in str(error)


images = st.builds(
    ImageFeature,
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3, 4]),
    resize=st.sampled_from(["none", "stretch", "crop", "pad"]),
)


@pytest.mark.fuzz
@given(damaged("image"), images)
@example(SEEDS["image"][0], ImageFeature(height=5, width=6, channels=3))
@settings(max_examples=200, deadline=None)
def test_a_damaged_image_gives_its_pixels_or_an_error(content, feature):
    try:
        pixels = decode_image(content, feature)
    except ImageError as error:
        assert str(error)
        with pytest.raises(ImageError):
            keep_image(content, feature)
    else:
        assert (pixels.shape, pixels.dtype) == ((feature.size,), np.uint8)
        kept = decode_image(keep_image(content, feature), feature.model_copy(update={"resize": "none"}))
        assert kept.shape == pixels.shape
