import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.examples import shards

TABLE = pl.DataFrame(
    {
        "example_id": pl.int_range(10_000, dtype=pl.UInt64, eager=True),
        "image": pl.Series([[i % 256] * 4 for i in range(10_000)], dtype=pl.Array(pl.UInt8, 4)),
    }
)


@pytest.mark.parametrize("table", [TABLE, TABLE.lazy(), TABLE.clear()], ids=["whole", "lazy", "empty"])
def test_what_is_written_is_read_back_in_order(table, tmp_path) -> None:
    shards.write(table, tmp_path / "out", rows_per_file=3000)
    assert shards.scan(tmp_path / "out").collect().equals(table.lazy().collect())


def test_shards_are_few_and_named_in_order(tmp_path) -> None:
    shards.write(TABLE, tmp_path, rows_per_file=3000)
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == [f"part-0000{i}.parquet" for i in range(4)]


def test_equal_tables_give_equal_bytes(tmp_path) -> None:
    for folder in ("a", "b"):
        shards.write(TABLE.lazy().filter(pl.col("example_id") % 3 == 0), tmp_path / folder, rows_per_file=1000)
    assert shards.digest(tmp_path / "a") == shards.digest(tmp_path / "b")


def test_another_value_gives_another_digest(tmp_path) -> None:
    shards.write(TABLE, tmp_path / "a")
    shards.write(TABLE.with_columns(pl.col("example_id") + 1), tmp_path / "b")
    assert shards.digest(tmp_path / "a") != shards.digest(tmp_path / "b")


def test_a_digest_is_the_same_from_a_folder_and_from_its_files(tmp_path) -> None:
    shards.write(TABLE, tmp_path, rows_per_file=3000)
    assert shards.digest(tmp_path) == shards.digest(sorted(tmp_path.iterdir(), reverse=True))


def test_a_folder_whose_name_looks_like_a_pattern_is_read(tmp_path) -> None:
    folder = tmp_path / "data [1] *"
    shards.write(TABLE, folder)
    assert shards.scan(folder).collect().height == TABLE.height


def test_a_folder_without_shards_is_an_error(tmp_path) -> None:
    with pytest.raises(DataError, match="no Parquet files"):
        shards.scan(tmp_path)
