"""Arrow IPC files, streams and files, whole and damaged."""

import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources import arrow_files
from headrace.components.sources.arrow_files import ArrowTable, arrow_file_blocks
from headrace.components.sources.parquet.reader import parquet_blocks

SCHEMA = ExampleSchema.model_validate(
    {
        "key": ["id"],
        "features": {
            "x": {"type": "number", "nullable": True},
            "at": {"type": "number", "nullable": True, "date_format": "iso"},
        },
        "label": {"type": "category", "name": "y", "classes": ["a", "b"]},
    }
)
TABLE = pa.table(
    {
        "id": [2**63 - 1, 2**53 + 1, 3],
        "x": pa.array([0.1, None, float("inf")]),
        "at": pa.array([datetime(2026, 11, 20, tzinfo=UTC), None, datetime.min.replace(tzinfo=UTC)]),
        "y": pa.array(["a", "b", "a"]).dictionary_encode(),
        "other": [[1], [2, 3], []],
    }
)


def write(file: Path, table: pa.Table = TABLE, *, is_stream: bool = True, compression: str | None = None) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(str(file), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2 if len(table) < 100 else None)
    return file


def read(file: Path) -> pl.DataFrame:
    return pl.concat([block.read().table for block in arrow_file_blocks(file, schema=SCHEMA)])


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_values_are_those_of_a_parquet_file(tmp_path: Path, is_stream: bool, compression: str | None) -> None:
    file = write(tmp_path / "rows.arrow", is_stream=is_stream, compression=compression)
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    expected = pl.concat([block.read().table for block in parquet_blocks(tmp_path / "rows.parquet", schema=SCHEMA)])
    assert read(file).equals(expected)
    assert ArrowTable(file).present(["y", "nothing", "x"]) == ("y", "x")


def test_a_long_batch_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"id": range(1000), "x": [0.5] * 1000, "at": pa.nulls(1000, pa.string()), "y": ["a"] * 1000})
    with pa.ipc.new_stream(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    monkeypatch.setattr(arrow_files, "_BLOCK_BYTES", 1000)
    blocks = list(arrow_file_blocks(tmp_path / "rows.arrow", schema=SCHEMA))
    assert len(blocks) > 10
    assert read(tmp_path / "rows.arrow")["id"].to_list() == [str(n) for n in range(1000)]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TABLE.drop(["x"]), r"^rows.arrow: no column 'x'; found id, at, y, other"),
        (TABLE.append_column("x", TABLE["x"]), r"^rows.arrow: column 'x' occurs 2 times"),
        (TABLE.slice(0, 0), r"^rows.arrow has no rows"),
        (TABLE.set_column(1, "x", TABLE["other"]), r"^rows.arrow: column 'x': expected numbers, found list<"),
        (
            TABLE.set_column(0, "id", TABLE["x"]),
            r"arrow: column 'id': expected text or whole numbers, found double",
        ),
        (TABLE.set_column(2, "at", TABLE["id"]), None),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, table: pa.Table, said: str | None) -> None:
    file = write(tmp_path / "rows.arrow", table)
    if said is None:
        assert read(file)["at"].to_list() == [str(2**63 - 1), str(2**53 + 1), "3"]
        return
    with pytest.raises(DataError, match=said):
        read(file)


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"text, text", b"\xff\xff\xff\xff\x10\0\0\0", b"PAR1" * 9])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.arrow").write_bytes(content)
    with pytest.raises(DataError, match=r"rows.arrow is a damaged Arrow file, or none"):
        read(tmp_path / "rows.arrow")


@pytest.mark.fuzz
@settings(deadline=None)
@given(seed=st.integers(0, 2**32), is_stream=st.booleans())
def test_damaged_files_are_read_or_refused(tmp_path_factory, seed: int, is_stream: bool) -> None:
    choose = random.Random(seed)
    file = write(tmp_path_factory.getbasetemp() / "damaged.arrow", is_stream=is_stream)
    content = bytearray(file.read_bytes())
    for _ in range(choose.randint(1, 8)):
        content[choose.randrange(len(content))] = choose.randrange(256)
    file.write_bytes(content[: choose.choice([len(content), choose.randrange(len(content))])])
    try:
        read(file)
    except DataError as error:
        assert "damaged.arrow" in str(error)


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls((1 << 31) - 1),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(1 << 20, np.int8)), pa.array(["b" * (1 << 20)])),
        pl.Series(["b" * (1 << 20)]).gather([0] * (1 << 14)).to_arrow(compat_level=pl.CompatLevel.newest()),
    ],
    ids=["nulls", "dictionary", "views"],
)
def test_a_short_file_of_many_long_rows_is_read_in_pieces(tmp_path: Path, column: pa.Array) -> None:
    # The first would take 16 GiB at once, the others 1 TiB and 16 GiB.
    columns = {"id": pa.nulls(len(column)), "x": pa.nulls(len(column)), "at": pa.nulls(len(column)), "y": column}
    batch = pa.record_batch(columns)
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    first = next(iter(arrow_file_blocks(tmp_path / "rows.arrow", schema=SCHEMA))).read().table
    assert 1 <= first.height <= 1 << 19
    assert first.estimated_size() < 1 << 27


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("column", ["x", "y", "other"])
def test_a_batch_that_decompresses_beyond_bounds_is_refused_before_it_does(
    tmp_path: Path, is_stream: bool, column: str
) -> None:
    rows = 9_000_000
    found = {name: pa.nulls(rows) for name in ("id", "x", "at", "y", "other")}
    found[column] = pa.array(np.zeros(rows))
    if column == "y":
        found[column] = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int8()), pa.array(["b" * (1 << 27)]))
    file = write(tmp_path / "rows.arrow", pa.table(found).slice(0, rows), is_stream=is_stream, compression="zstd")
    with pytest.raises(DataError, match=r"rows.arrow \(\d+ bytes\) decompresses to more than 67108864 bytes"):
        next(iter(arrow_file_blocks(file, schema=SCHEMA)))
