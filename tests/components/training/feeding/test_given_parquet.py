"""Parquet files that a program gives, read by windows: the same batches as from memory, in memory for a few windows."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import StoredColumns
from headrace.components.training.feeding.feed import serve_evaluation, serve_training
from headrace.components.training.feeding.given_data import given_columns
from headrace.components.training.feeding.given_parquet import GivenParquet, open_given

PLACE = {"rank": 1, "num_workers": 2}


def table(rows: int) -> pl.DataFrame:
    draw = np.random.default_rng(rows)
    return pl.DataFrame(
        {
            "age": draw.normal(size=rows),
            "of/three": pl.Series(draw.integers(0, 9, (rows, 3)), dtype=pl.Array(pl.Int64, 3)),
            "is_new": draw.integers(0, 2, rows).astype(bool),
            "y": draw.integers(0, 5, rows).astype(np.int16),
            "w": draw.uniform(size=rows),
        }
    )


def parquet(folder: Path, rows: pl.DataFrame, *, label: str = "y", weight: str | None = None) -> GivenParquet:
    folder.mkdir()
    for place in range(0, len(rows), 70):
        rows[place : place + 70].write_parquet(folder / f"{place:04d}.parquet")
    return GivenParquet.at(folder, label=label, weight=weight, name="train")


def stored(given: GivenParquet, folder: Path, windows: Windows) -> StoredColumns:
    folder.mkdir()
    given.write(folder, block_examples=windows.block_examples)
    return open_given(folder)


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("window_examples", [None, 32])
def test_by_windows_and_from_memory_serve_the_same_batches(tmp_path, weight, window_examples):
    rows, windows = table(201), Windows(201, 12, window_examples)
    memory = given_columns(rows, label="y", weight=weight)
    on_disk = stored(parquet(tmp_path / "parts", rows, weight=weight), tmp_path / "blocks", windows)

    assert on_disk.examples == 201
    for serve, place in (
        (serve_training, {"seed": 4, "first_epoch": 1, "first_step": 5, **PLACE}),
        (serve_evaluation, PLACE),
    ):
        pairs = zip(serve(memory, windows, **place), serve(on_disk, windows, **place), strict=False)
        for (x, *others), (found_x, *found_others) in itertools.islice(pairs, 2 * windows.steps):
            assert list(x) == list(found_x)
            for left, right in zip((*x.values(), *others), (*found_x.values(), *found_others), strict=True):
                assert left.dtype == right.dtype
                np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pl.Series("x", ["a", "b"]), "train: column 'x' holds texts, and by windows only numbers"),
        (pl.Series("x", [[1], [2, 3]]), "train: column 'x' holds lists of several lengths"),
        (pl.Series("x", [1, 2], dtype=pl.UInt64), "train: column 'x' holds uint64"),
        (pl.Series("x", [None, 1.0]), "train: column 'x' has 1 missing values"),
    ],
)
def test_columns_that_no_window_has_are_refused_by_the_first_rows(column, said, tmp_path):
    with pytest.raises(DataError) as refused:
        parquet(tmp_path / "parts", pl.DataFrame([column, pl.Series("y", [0, 1])]))

    assert str(refused.value).startswith(said)


def test_files_of_other_types_or_without_the_label_are_refused(tmp_path):
    given = parquet(tmp_path / "parts", pl.DataFrame({"x": [1, 2], "y": [0, 1]}))
    pl.DataFrame({"x": [1.5], "y": [0]}).write_parquet(tmp_path / "parts" / "9.parquet")
    given = GivenParquet.at(tmp_path / "parts", label="y", weight=None, name="train")
    (tmp_path / "blocks").mkdir()

    with pytest.raises(DataError, match="train: the Parquet files differ in their columns: "):
        given.write(tmp_path / "blocks", block_examples=2)
    with pytest.raises(DataError, match="label='z' is no column"):
        GivenParquet.at(tmp_path / "parts", label="z", weight=None, name="train")


WORKER = """
import json, os, re, sys
from pathlib import Path
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.feed import serve_training
from headrace.components.training.feeding.given_parquet import GivenParquet, open_given

folder, examples = Path(sys.argv[1]), int(sys.argv[2])
windows = Windows(examples, 256, window_examples=8192)
given = GivenParquet.at(folder / "parts", label="y", weight=None, name="train")
(folder / "blocks").mkdir()
given.write(folder / "blocks", block_examples=windows.block_examples)
total = 0.0
served = serve_training(open_given(folder / "blocks"), windows, seed=1, rank=0, num_workers=1)
for features, labels in served.take(windows.steps):
    total += float(features["x"][:, 0].numpy().sum(dtype=float))
status = Path("/proc/self/status").read_text()
print(json.dumps({"total": total, "peak_mib": int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024}))
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak memory from Linux")
def test_memory_does_not_grow_with_the_files(tmp_path, repository):
    # As in test_disk_splits: windows of 8 MiB, sets of 64 and 320 MiB.
    peaks = []
    for examples in (65_536, 327_680):
        folder = tmp_path / str(examples)
        (folder / "parts").mkdir(parents=True)
        value = (pl.col("y") % 1024).cast(pl.Float32)
        rows = pl.select(pl.int_range(examples, dtype=pl.Int32).alias("y")).lazy()
        rows.select(pl.concat_arr([value] * 256).alias("x"), "y").sink_parquet(
            folder / "parts" / "0.parquet", row_group_size=4096
        )
        process = subprocess.run(
            [sys.executable, "-c", WORKER, str(folder), str(examples)],
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        result = json.loads(process.stdout)
        assert result["total"] == examples / 1024 * 1023 * 512
        peaks.append(result["peak_mib"])
    assert peaks[1] - peaks[0] < 100, peaks
