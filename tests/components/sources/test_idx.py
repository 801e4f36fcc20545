import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.idx import read_idx, read_idx_part

values = arrays.arrays(np.uint8, arrays.array_shapes(max_dims=4, max_side=5))


def idx_bytes(array) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def read(folder, content: bytes):
    path = folder / "file.idx"
    path.write_bytes(content)
    return read_idx(path)


def read_pair(folder, images, labels, feature):
    (folder / "images").write_bytes(idx_bytes(images))
    (folder / "labels").write_bytes(idx_bytes(labels))
    return read_idx_part(
        folder / "images", folder / "labels", image="photo", label="digit", feature=feature, given_split="test"
    )


@given(values, st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_was_written_is_read(tmp_path_factory, array, zipped) -> None:
    content = idx_bytes(array)
    found = read(tmp_path_factory.getbasetemp(), gzip.compress(content) if zipped else content)
    assert np.array_equal(found, array)


@given(values, st.booleans(), st.data())
@settings(max_examples=50, deadline=None)
def test_every_truncation_and_every_extension_is_an_error(tmp_path_factory, array, zipped, data) -> None:
    content = idx_bytes(array)
    damaged = content[: data.draw(st.integers(0, len(content) - 1))] if data.draw(st.booleans()) else content + b"\0"
    with pytest.raises(DataError, match=r"file\.idx"):
        read(tmp_path_factory.getbasetemp(), gzip.compress(damaged) if zipped else damaged)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\0\0\x08" + tail))
@settings(max_examples=100, deadline=None)
def test_hostile_bytes_give_values_or_an_error_that_names_the_file(tmp_path_factory, content) -> None:
    try:
        read(tmp_path_factory.getbasetemp(), content)
    except DataError as error:
        assert "file.idx" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with two zero bytes, found nothing"),
        (b"PK\x03\x04", "must begin with two zero bytes, found 50 4b 03 04"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "expected type code 0x08"),
        (b"\0\0\x08\0", "expected at least 1 dimensions"),
        (b"\0\0\x08\x03\0\0\0\x01", "expected 3 dimensions in the header, found 1"),
        (b"\0\0\x08\x02" + b"\xff" * 8 + b"abc", "found only 3"),  # 2**64 values announced: none may be reserved
        (b"\0\0\x08\x01\0\0\0\x02abc", "found more"),
        (b"\0\0\x08\x01\0\0\0\0", "no values"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab", mtime=0)[:-9], "damaged gzip"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab", mtime=0)[:-8] + b"\0" * 8, "damaged gzip"),  # a wrong checksum
        (b"\x1f\x8b hello", "damaged gzip"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, content, message) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_a_pair_becomes_a_table(tmp_path) -> None:
    images = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2)
    part = read_pair(tmp_path, images, np.array([7, 1], dtype=np.uint8), ImageFeature(height=3, width=2))
    assert part.table.to_dict(as_series=False) == {
        "photo": [list(range(6)), list(range(6, 12))],
        "digit": [7, 1],
    }
    assert part.given_split == "test"


def test_images_with_channels_are_read(tmp_path) -> None:
    images = np.zeros((2, 3, 2, 3), dtype=np.uint8)
    part = read_pair(tmp_path, images, np.zeros(2, dtype=np.uint8), ImageFeature(height=3, width=2, channels=3))
    assert part.table["photo"].dtype.shape == (18,)


@pytest.mark.parametrize(
    ("images_shape", "labels_shape", "message"),
    [
        ((2, 3, 2), (3,), "images has 2 images, but labels has 3 labels"),
        ((2, 3, 3), (2,), r"declared as \(3, 2, 1\)"),
        ((2, 6), (2,), r"declared as \(3, 2, 1\)"),
        ((2, 3, 2, 3), (2,), r"declared as \(3, 2, 1\)"),
        ((2, 3, 2), (2, 1), "expected one label a row"),
    ],
)
def test_a_pair_that_does_not_fit_is_an_error(tmp_path, images_shape, labels_shape, message) -> None:
    images, labels = np.zeros(images_shape, np.uint8), np.zeros(labels_shape, np.uint8)
    with pytest.raises(DataError, match=message):
        read_pair(tmp_path, images, labels, ImageFeature(height=3, width=2))


def test_all_of_mnist_is_read(shared_data) -> None:
    counts = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        folder = shared_data / "mnist"
        part = read_idx_part(
            folder / f"{stem}-images-idx3-ubyte.gz",
            folder / f"{stem}-labels-idx1-ubyte.gz",
            image="image",
            label="digit",
            feature=ImageFeature(height=28, width=28),
            given_split=split,
        )
        counts[split] = part.table.height
        assert part.table["digit"].is_between(0, 9).all()
    assert counts == {"train": 60_000, "test": 10_000}
