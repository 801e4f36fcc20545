"""Tables of many columns: the cost grows as the number of columns does."""

import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

ROWS = 1000


def _wide(titanic: dict, root: Path, *, columns: int, broken: int = 0) -> tuple[Pipeline, PipelinePaths]:
    """A CSV of numbers; the first `broken` rows have a word in their last column."""
    values = np.random.default_rng(1).normal(size=(ROWS, columns)).round(3)
    numbers = pl.DataFrame({f"x{place}": values[:, place] for place in range(columns)}).cast(pl.String)
    last = pl.when(pl.int_range(ROWS) < broken).then(pl.lit("word")).otherwise(pl.col(f"x{columns - 1}"))
    label = pl.Series("kind", np.where(values[:, 0] > 0, "a", "b"))
    root.mkdir()
    numbers.with_columns(last.alias(f"x{columns - 1}"), label).write_csv(root / "rows.csv")
    features = {name: {"type": "number"} for name in numbers.columns}
    source = {"kind": "delimited", "dataset": "wide", "files": {"root": str(root), "pattern": "rows.csv"}}
    section = {
        "source": source,
        "features": features,
        "label": {"type": "category", "name": "kind", "classes": ["a", "b"]},
        "max_bad_fraction": 0.01,
    }
    transforms = {name: [{"kind": "standardize"}] for name in features}
    pipeline = {**titanic, "name": "wide", "ingest": section, "normalize": {"transforms": transforms}}
    pipeline |= {"split": {"seed": 1, "validation_fraction": 0.2}, "results": {}}
    return Pipeline.model_validate(pipeline), PipelinePaths(root, "wide")


@pytest.fixture(scope="module")
def titanic(repository: Path) -> dict:
    return yaml.safe_load((repository / "params.yaml").read_text())["titanic"]


@pytest.mark.parametrize("broken", [0, 2])
def test_ten_times_the_columns_cost_at_most_fifteen_times_the_processor_time(
    titanic: dict, tmp_path: Path, broken: int
) -> None:
    seconds: dict[int, list[float]] = {10: [], 100: [], 1000: []}  # the first warms caches up
    for attempt in range(3):
        for columns, measured in seconds.items():
            root = tmp_path / f"{columns} columns, attempt {attempt}"
            pipeline, paths = _wide(titanic, root, columns=columns, broken=broken)
            start = time.process_time()
            ingest(pipeline, paths)
            measured.append(time.process_time() - start)
            assert pl.read_parquet(paths.rejected).height == broken
    # The least of each: what else a machine does only adds, and adds more to what uses several threads.
    assert min(seconds[1000]) <= 15 * min(seconds[100])
