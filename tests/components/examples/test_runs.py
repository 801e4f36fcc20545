import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.examples.runs import RANGES, encode_run, plan_shards, read_ranges


def table_of(rows: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    ids = random.integers(0, 2**64, rows, dtype=np.uint64, endpoint=False)
    return pl.DataFrame(
        {"example_id": ids, "x": random.random(rows), "run": pl.Series([seed] * rows, dtype=pl.Int64)}
    ).sort("example_id")


@pytest.mark.parametrize("sizes", [(20_000, 50, 1), (0, 30), (17_000, 17_000)])
def test_ranges_of_all_runs_are_all_rows_in_order(tmp_path, sizes) -> None:
    tables = [table_of(rows, seed) for seed, rows in enumerate(sizes)]
    files, counts = [], np.zeros(RANGES, np.int64)
    for number, table in enumerate(tables):
        content, run_counts = encode_run(table)
        files.append(tmp_path / f"{number}.arrow")
        files[-1].write_bytes(content)
        counts += run_counts
    shards = [read_ranges(files, ranges) for ranges in plan_shards(counts.tolist(), rows_per_shard=5_000)]
    merged = pl.concat([pl.concat(shard).sort("example_id", maintain_order=True) for shard in shards if shard])
    assert merged.equals(pl.concat(tables).sort("example_id", maintain_order=True))
    assert [sum(len(part) for part in shard) <= 5_000 for shard in shards] == [True] * len(shards)


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
