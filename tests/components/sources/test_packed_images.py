"""Images of a folder in one Parquet file: as they were, in bounded groups, and refused where they are damaged."""

import polars as pl
import pyarrow.parquet as pq
import pytest

from headrace.components.errors import DataError
from headrace.components.sources import packed_images
from headrace.components.sources.archives import Member
from headrace.components.sources.packed_images import read_packed_images, write_packed_images

IMAGES = [
    Member("a.png", b"1" * 1000),
    Member("B.jpg", b""),
    Member(f"c {'x' * 240}.png", bytes(range(256))),
    Member("in/ä ü.gif", b"3" * 5000),
]


def test_images_come_back_in_their_order_and_equal_ones_make_equal_files(tmp_path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_packed_images(iter(IMAGES), tmp_path / name)
    assert list(read_packed_images(tmp_path / "a.parquet")) == IMAGES
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_others_read_the_file_as_a_table_of_paths_and_uncompressed_content(tmp_path) -> None:
    write_packed_images(IMAGES, file := tmp_path / "a.parquet")
    table = pl.read_parquet(file)
    assert dict(table.schema) == {"file": pl.String, "content": pl.Binary}
    assert table.rows() == [(image.name, image.content) for image in IMAGES]
    assert pq.read_metadata(file).row_group(0).column(1).compression == "UNCOMPRESSED"


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([10] * 7, [3, 3, 1]),  # many small ones: their rows are bounded
        ([60, 39, 1, 5], [3, 1]),
        ([5, 1000, 5], [2, 1]),  # a large one ends its group
    ],
)
def test_memory_holds_a_group_and_groups_are_bounded(tmp_path, monkeypatch, sizes, rows) -> None:
    monkeypatch.setattr(packed_images, "_GROUP_BYTES", 100)
    monkeypatch.setattr(packed_images, "_GROUP_ROWS", 3)
    images = [Member(f"{number}.png", bytes([number]) * size) for number, size in enumerate(sizes)]
    write_packed_images(images, file := tmp_path / "a.parquet")
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == rows
    assert list(read_packed_images(file)) == images


def test_a_damaged_file_is_refused_in_one_line_wherever_it_is_damaged(tmp_path) -> None:
    write_packed_images(IMAGES[1:3], file := tmp_path / "a.parquet")
    good = file.read_bytes()
    damaged = [good[:length] for length in range(0, len(good), 5)]
    damaged += [good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :] for place in range(len(good))]
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        try:
            assert list(read_packed_images(file)) == IMAGES[1:3]
        except DataError as error:
            refused += 1
            assert str(error).startswith("a.parquet ")
            assert "\n" not in str(error)
    assert refused > len(damaged) / 2
    file.write_bytes(good.replace(bytes(range(200)), bytes(200)))
    with pytest.raises(DataError, match=r"a\.parquet is a damaged Parquet file, or none \(.*CRC"):
        list(read_packed_images(file))


def test_another_parquet_file_is_refused(tmp_path) -> None:
    pl.DataFrame({"file": ["a.png"], "size": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet holds no packed images \(its columns are file, size\): remove it"):
        list(read_packed_images(tmp_path / "a.parquet"))
