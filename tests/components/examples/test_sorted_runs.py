from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.examples.sorted_runs import RANGES, open_run, plan_shards, read_ranges, write_run


def table_of(rows: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    ids = random.integers(0, 2**64, rows, dtype=np.uint64, endpoint=False)
    return pl.DataFrame(
        {"example_id": ids, "x": random.random(rows), "run": pl.Series([seed] * rows, dtype=pl.Int64)}
    ).sort("example_id")


def read_all(tables: list[pl.DataFrame], folder: Path) -> list[pa.Table]:
    """Write some tables as runs, and read them range by range."""
    files, counts = [], np.zeros(RANGES, np.int64)
    for number, table in enumerate(tables):
        files.append(folder / f"{number}.arrow")
        counts += write_run(table, files[-1])
    runs = [open_run(file) for file in files]
    shards = [read_ranges(runs, ranges) for ranges in plan_shards(counts.tolist(), rows_per_shard=25_000)]
    return [shard for shard in shards if shard is not None]


@pytest.mark.parametrize("sizes", [(120_000, 50, 1), (0, 30), (90_000, 90_000)])
def test_ranges_of_all_runs_are_all_rows_in_order(tmp_path, sizes) -> None:
    tables = [table_of(rows, seed) for seed, rows in enumerate(sizes)]
    shards = read_all(tables, tmp_path)
    merged = pl.concat(pl.DataFrame(pl.from_arrow(one)).sort("example_id", maintain_order=True) for one in shards)
    assert merged.equals(pl.concat(tables).sort("example_id", maintain_order=True))
    assert all(len(shard) <= 25_000 for shard in shards)


def test_values_that_some_runs_lack_stay_missing_and_texts_stay_whole(tmp_path) -> None:
    def table(rows: int, seed: int, *, missing: int) -> pl.DataFrame:
        number = pl.int_range(pl.len())
        lacking = pl.when(number >= missing).then(pl.col("x"))
        return table_of(rows, seed).with_columns(
            lacking=lacking,
            half=pl.col("x").cast(pl.Float32),
            nan=pl.when(number % 2 == 0).then(pl.col("x")).otherwise(float("nan")),
            flag=pl.col("x") > 0.5,
            at=pl.lit("2026-11-27").str.to_datetime() + pl.duration(seconds=number),
            text=pl.when(pl.col("x") < 0.9).then(pl.format("{} and more than fits into a view", number)),
        )

    tables = [table(70_000, 1, missing=0), table(40, 2, missing=40), table(30_000, 3, missing=7)]
    shards = read_all(tables, tmp_path)
    merged = pl.concat(pl.DataFrame(pl.from_arrow(one)).sort("example_id", maintain_order=True) for one in shards)
    assert merged.equals(pl.concat(tables).sort("example_id", maintain_order=True))
    assert merged["lacking"].null_count() == 47
    assert not merged["nan"].null_count()


def test_of_few_large_rows_only_those_of_the_ranges_are_read(tmp_path) -> None:
    table = table_of(600, 1).with_columns(photo=pl.Series([bytes(10_000)] * 600))
    counts = write_run(table, run := tmp_path / "run.arrow")
    before = pa.total_allocated_bytes()
    some = read_ranges([open_run(run)], range(10, 20))
    assert some is not None
    assert some.num_rows == sum(counts[10:20])
    assert pa.total_allocated_bytes() - before < 1_000_000 < run.stat().st_size


def test_ranges_that_no_run_has_are_nothing(tmp_path) -> None:
    write_run(table_of(100, 1).filter(pl.col("example_id") < 1 << 63), run := tmp_path / "run.arrow")
    assert read_ranges([open_run(run)], range(128, 256)) is None
    assert read_ranges([], range(256)) is None


@given(st.lists(st.integers(0, 20), min_size=RANGES, max_size=RANGES), st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_every_range_is_in_one_shard_and_no_shard_could_hold_the_next_range(counts, rows_per_shard) -> None:
    shards = plan_shards(counts, rows_per_shard=rows_per_shard)
    assert [number for shard in shards for number in shard] == list(range(RANGES))
    rows = [sum(counts[number] for number in shard) for shard in shards]
    assert all(
        one <= rows_per_shard or len([n for n in shard if counts[n]]) == 1
        for one, shard in zip(rows, shards, strict=True)
    )
    assert all(one + counts[after.start] > rows_per_shard for one, after in zip(rows, shards[1:], strict=False))
