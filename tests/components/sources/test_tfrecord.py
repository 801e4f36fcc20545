"""TFRecord files, against TensorFlow's own writer, and damaged in every way."""

import gzip
import io
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headrace.components.errors import DataError, ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources import tfrecord
from headrace.components.sources.tfrecord import TfRecordSource, masked_crc32c, tfrecord_blocks

SCHEMA = ExampleSchema.model_validate(
    {
        "key": ["id"],
        "features": {"x": {"type": "number", "nullable": True}, "word": {"type": "category", "nullable": True}},
        "label": {"type": "category", "name": "y", "classes": ["0", "1"]},
    }
)
PHOTOS = ExampleSchema.model_validate(
    {
        "features": {"image": {"type": "image", "height": 8, "width": 8}},
        "label": {"type": "category", "name": "label", "classes": ["0", "1"]},
    }
)


def example(*entries: tuple[str, Any], **features: Any) -> bytes:
    message = tfrecord._example_class()()
    for name, given_values in [*entries, *features.items()]:
        values = given_values if isinstance(given_values, list) else [given_values]
        kinds = {int: "int64_list", float: "float_list", bytes: "bytes_list"}
        feature = message.features.feature.add(key=name).value
        kind = kinds[type(values[0])] if values else "int64_list"
        getattr(feature, kind).SetInParent()
        getattr(feature, kind).value.extend(values)
    return message.SerializeToString()


def framed(records: Sequence[bytes]) -> bytes:
    def summed(content: bytes) -> bytes:
        return content + struct.pack("<I", masked_crc32c(content))

    return b"".join(summed(struct.pack("<Q", len(record))) + summed(record) for record in records)


def write(folder: Path, *records: bytes) -> Path:
    file = folder / "rows.tfrecord"
    file.write_bytes(framed(records))
    return file


def read(file: Path, schema: ExampleSchema = SCHEMA) -> pl.DataFrame:
    return pl.concat([block.read().table for block in tfrecord_blocks(file, schema=schema)], how="vertical_relaxed")


def test_lists_of_numbers_are_vectors_and_elsewhere_refused(tmp_path: Path) -> None:
    features = {"x": {"type": "vector", "length": 2}}
    schema = ExampleSchema.model_validate({"features": features, "label": SCHEMA.label.model_dump()})
    file = write(tmp_path, example(x=[1.5, 2.5], y=b"0"), example(x=[1.0], y=b"1"), example(y=b"1"))
    assert read(file, schema)["x"].to_list() == [[1.5, 2.5], [1.0], None]
    assert read(write(tmp_path, example(x=[1, 2], y=b"0")), schema)["x"].to_list() == [[1, 2]]
    with pytest.raises(DataError, match="row 1: feature 'x': expected one value, found a list of 2"):
        read(write(tmp_path, example(id=1, x=[1.5, 2.5], y=b"0")))


@pytest.mark.parametrize(
    ("content", "checksum"),
    [(b"123456789", 0xE3069283), (b"", 0), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_the_checksum_is_crc_32c(content: bytes, checksum: int) -> None:
    assert tfrecord._crc32c(content) == checksum  # RFC 3720, B.4


@given(content=st.binary(max_size=9) | st.integers(1000, 3100).map(random.Random(0).randbytes))
def test_the_checksum_is_that_of_its_definition(content: bytes) -> None:
    state = 0xFFFFFFFF
    for byte in content:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    assert tfrecord._crc32c(content) == state ^ 0xFFFFFFFF


def test_what_tensorflow_writes_is_read(tmp_path: Path) -> None:
    import tensorflow as tf

    features = {
        "id": tf.train.Feature(int64_list=tf.train.Int64List(value=[2**53 + 1])),
        "x": tf.train.Feature(float_list=tf.train.FloatList(value=[0.1])),
        "word": tf.train.Feature(bytes_list=tf.train.BytesList(value=["é".encode()])),
        "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
        "pixels": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0, 2.0])),
    }
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    for compression in ("", "GZIP"):
        with tf.io.TFRecordWriter(str(tmp_path / "rows.tfrecord"), compression) as writer:
            for _ in range(3):
                writer.write(record)
        table = read(tmp_path / "rows.tfrecord")
        assert table.unique().rows() == [("9007199254740993", float(np.float32(0.1)), "é", "1")]
        assert table.height == 3


def test_a_missing_or_empty_feature_is_a_missing_value(tmp_path: Path) -> None:
    rows = [example(id=1, y=0), example(id=2, x=[], word=b"a", y=1), example(id=3, x=0.5, y=[])]
    assert read(write(tmp_path, *rows)).rows() == [
        ("1", None, None, "0"),
        ("2", None, "a", "1"),
        ("3", 0.5, None, None),
    ]


def test_values_that_are_no_numbers_are_kept_for_the_checks_of_rows(tmp_path: Path) -> None:
    rows = [example(id=-(2**63), x=float("nan"), word=b"", y=0), example(id=2**63 - 1, x=float("inf"), y=1)]
    table = read(write(tmp_path, *rows))
    assert table["id"].to_list() == [str(-(2**63)), str(2**63 - 1)]
    assert table["x"].is_nan().to_list() == [True, False]


GOOD = example(id=1, x=1.0, word=b"a", y=0)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], r"rows.tfrecord has no rows"),
        (
            [GOOD, example(id=2, x=[1.0, 2.0], y=0)],
            r"tfrecord, row 2: feature 'x': expected one value, found a list of 2",
        ),
        ([GOOD, example(id=2, x=1, y=0)], r"row 2: feature 'x': expected float_list, as before, found int64_list"),
        ([example(id=1, x=1.0, word=b"\xff", y=0)], r"row 1: feature 'word': expected UTF-8 text, found other bytes"),
        ([GOOD, b"no message"], r"row 2: not a tf.train.Example"),
        ([GOOD, example(("x", 1.0), ("x", 2.0), id=2, y=0)], r"row 2: feature 'x' is there 2 times; expected once"),
        ([example(id=1, other=2)], r"rows.tfrecord: no column 'x'; found id, other"),
        ([example(id=1.5, x=1.0, word=b"a", y=0)], r"rows.tfrecord: column 'id': expected text or whole numbers"),
    ],
)
def test_records_that_can_not_be_read_are_named(tmp_path: Path, records: list[bytes], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(write(tmp_path, *records))


def test_values_of_another_type_are_noticed_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "_BLOCK_RECORDS", 1)
    rows = [GOOD, example(id=2, y=0), example(id=3, x=1, y=0)]
    with pytest.raises(DataError, match=r"row 3: feature 'x': expected float_list, as before, found int64_list"):
        read(write(tmp_path, *rows))


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    content = framed([GOOD, GOOD])
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        (tmp_path / "rows.tfrecord").write_bytes(damaged)
        with pytest.raises(DataError, match=r"rows.tfrecord, row [12]: |rows.tfrecord is a damaged"):
            read(tmp_path / "rows.tfrecord")
    for length in set(range(1, len(content))) - {len(content) // 2}:
        (tmp_path / "rows.tfrecord").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"rows.tfrecord, row [12]: "):
            read(tmp_path / "rows.tfrecord")


def test_a_length_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    (tmp_path / "rows.tfrecord").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + b"x")
    with pytest.raises(DataError, match=r"row 1: has 1152921504606846976 bytes, more than"):
        read(tmp_path / "rows.tfrecord")


def test_a_first_length_that_looks_like_gzip_is_none(tmp_path: Path) -> None:
    rows = (example(id=1, x=1.0, word=b"a", y=0, more=b"x" * size) for size in range(35_500, 35_615))
    row = next(row for row in rows if len(row) == 35_615)
    file = write(tmp_path, row)
    assert file.read_bytes()[:2] == b"\x1f\x8b"
    assert read(file).height == 1
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert read(file).height == 1


@pytest.mark.fuzz
@settings(deadline=None)
@given(data=st.data())
def test_random_bytes_are_read_or_refused(tmp_path_factory, data: st.DataObject) -> None:
    content = bytearray(framed([data.draw(st.binary(max_size=40)), GOOD]))
    file = tmp_path_factory.getbasetemp() / "random.tfrecord"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=20)))
    try:
        read(file)
    except DataError as error:
        assert "random.tfrecord" in str(error)


def test_images_are_decoded_and_a_row_without_one_is_rejected(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 7).save(stream := io.BytesIO(), "PNG")
    rows = [example(image=stream.getvalue(), label=1), example(image=b"no image", label=0), example(label=0)]
    [block] = tfrecord_blocks(write(tmp_path, *rows), schema=PHOTOS)
    part, rejected = block.decode(PHOTOS)  # type: ignore[attr-defined]
    assert part.table["label"].to_list() == ["1"]
    assert part.table["image"][0].to_list() == [7] * 64
    assert rejected.select("row", "reason").rows() == [(2, "not an image"), (3, "missing")]
    with pytest.raises(DataError, match=r"column 'image': expected the bytes of image files, .* found float"):
        list(tfrecord_blocks(write(tmp_path, example(image=1.0, label=0)), schema=PHOTOS))


def test_rows_of_images_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "_BLOCK_RECORDS", 2)
    blocks = list(tfrecord_blocks(write(tmp_path, *[example(image=b"x", label=0)] * 5), schema=PHOTOS))
    assert [block.first for block in blocks] == [1, 3, 5]  # type: ignore[attr-defined]


def test_one_image_with_its_class_or_none() -> None:
    source = TfRecordSource.model_validate({"kind": "tfrecord", "dataset": "d", "files": {"root": "a"}})
    for schema in (SCHEMA, PHOTOS):
        source.check_schema(schema)
    both = PHOTOS.model_copy(update={"features": {**PHOTOS.features, **SCHEMA.features}})
    with pytest.raises(ParamsError, match="a source of kind 'tfrecord' gives exactly one image"):
        source.check_schema(both)
