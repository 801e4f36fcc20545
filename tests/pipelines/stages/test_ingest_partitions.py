"""Data that arrives by the day, as files of a real landing folder, from ingest to split."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.examples.splits import assign_split
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

HEADER = "id,size,kind\n"


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "a landing folder"
    put(folder, 20, "b.csv", "3,1,big\n")
    put(folder, 20, "a.csv", "1,1,big\n2,,small\n")
    put(folder, 21, "a.csv", "4,2,small\n")
    return folder


@pytest.fixture(scope="module")
def titanic(repository) -> dict:
    return {"name": "titanic", **yaml.safe_load((repository / "params.yaml").read_text())["titanic"]}


def put(landing: Path, day: int, name: str, rows: str) -> Path:
    file = landing / f"date=2026-11-{day:02}" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HEADER + rows)
    return file


def pipeline_of(
    titanic, landing: Path, first: int | None = None, last: int | None = None, *, key=("id",), **partitions
):
    """The pipeline that reads the days from `first` to `last`, all without; one day without `last`."""
    source = {"kind": "delimited", "dataset": "small", "partitions": {"root": str(landing), **partitions}}
    if first is not None:
        source["interval"] = {"start": f"2026-11-{first:02}", "end": f"2026-11-{(last or first) + 1:02}"}
    section = {
        "source": source,
        "key": key,
        "features": {"size": {"type": "number", "nullable": True, "minimum": 0}},
        "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
    }
    transforms = {"size": [{"kind": "impute", "strategy": "median"}]}
    return Pipeline.model_validate(
        {**titanic, "name": "small", "ingest": section, "normalize": {"transforms": transforms}}
    )


def ids_of(pipeline: Pipeline, root: Path) -> set[int]:
    paths = PipelinePaths(root, "small")
    ingest(pipeline, paths)
    return set(shards.scan(paths.examples).collect()["example_id"])


def test_a_run_reads_its_own_interval(titanic, landing, tmp_path):
    one, two = (ids_of(pipeline_of(titanic, landing, day), tmp_path) for day in (20, 21))
    assert (len(one), len(two)) == (3, 1)
    assert ids_of(pipeline_of(titanic, landing, 20, 21), tmp_path) == one | two
    assert ids_of(pipeline_of(titanic, landing), tmp_path) == one | two
    assert not one & two


def test_the_files_are_recorded_in_a_fixed_order(titanic, landing, tmp_path):
    paths = PipelinePaths(tmp_path, "small")
    ids_of(pipeline_of(titanic, landing, 21), tmp_path)
    ids_of(pipeline_of(titanic, landing, 20), tmp_path)
    files = [landing / "date=2026-11-20" / name for name in ("a.csv", "b.csv")]
    expected = [
        {
            "name": f"date=2026-11-20_{file.name}",
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in files
    ]
    counts = json.loads(paths.ingest_metrics.read_text())
    assert counts["files"] == expected
    assert counts["rows_kept"] == 3
    assert sorted(file.name for file in paths.raw.iterdir()) == [one["name"] for one in expected]


def test_a_backfill_reads_what_a_run_would_have_read_then(titanic, landing, tmp_path):
    paths = PipelinePaths(tmp_path, "small")
    pipeline = pipeline_of(titanic, landing, 20)
    ids_of(pipeline, tmp_path)
    then = {file.name: file.read_bytes() for file in paths.examples.iterdir()}
    put(landing, 19, "a.csv", "0,1,big\n")
    put(landing, 22, "a.csv", "5,1,big\n")
    ids_of(pipeline, tmp_path)
    assert {file.name: file.read_bytes() for file in paths.examples.iterdir()} == then


def test_a_late_file_is_read_when_its_interval_is_ingested_again(titanic, landing, tmp_path):
    pipeline = pipeline_of(titanic, landing, 20)
    before = ids_of(pipeline, tmp_path)
    put(landing, 20, "late.csv", "9,1,big\n")
    after = ids_of(pipeline, tmp_path)
    assert before < after
    assert len(after) == 4


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (
            (23, 23),
            r"no partition date=2026-11-23/\*\.csv, expected for the interval 2026-11-23T00:00:00\+00:00 to "
            r"2026-11-24T00:00:00\+00:00; there are 2, date=2026-11-20/\*\.csv to date=2026-11-21/\*\.csv\. Run again",
        ),
        ((19, 22), r"no partition date=2026-11-19/\*\.csv, date=2026-11-22/\*\.csv, expected"),
        ((1, 8), r"no partition .*date=2026-11-05/\*\.csv and 3 more, expected"),
    ],
)
def test_a_missing_partition_is_named(titanic, landing, tmp_path, days, message):
    with pytest.raises(DataError, match=message):
        ids_of(pipeline_of(titanic, landing, *days), tmp_path)
    assert not PipelinePaths(tmp_path, "small").raw.exists()


@pytest.mark.parametrize("first", [None, 20])
def test_a_folder_with_nothing_in_it_is_named(titanic, tmp_path, first):
    with pytest.raises(DataError, match=r"nowhere: .*there is none date=\{date\}/\*\.csv"):
        ids_of(pipeline_of(titanic, tmp_path / "nowhere", first), tmp_path)


def test_a_partition_that_is_not_whole_is_missing(titanic, landing, tmp_path):
    pipeline = pipeline_of(titanic, landing, 20, success_file="date={date}/_SUCCESS")
    with pytest.raises(DataError, match=r"no partition date=2026-11-20/\*\.csv with date=\{date\}/_SUCCESS, expected"):
        ids_of(pipeline, tmp_path)
    (landing / "date=2026-11-20" / "_SUCCESS").touch()
    assert len(ids_of(pipeline, tmp_path)) == 3


def test_gaps_may_be_allowed(titanic, landing, tmp_path):
    assert len(ids_of(pipeline_of(titanic, landing, 21, 25, allow_gaps=True), tmp_path)) == 1


def test_an_empty_file_is_named_with_its_day(titanic, landing, tmp_path):
    put(landing, 21, "b.csv", "")
    with pytest.raises(DataError, match=r"date=2026-11-21_b\.csv has a header line but no rows"):
        ids_of(pipeline_of(titanic, landing, 21), tmp_path)


def test_wrong_and_repeated_rows_are_named_as_in_other_sources(titanic, landing, tmp_path):
    put(landing, 22, "a.csv", "5,-1,big\n")
    with pytest.raises(
        DataError, match=r"date=2026-11-22_a\.csv, row 1, column 'size': expected a number of at least 0"
    ):
        ids_of(pipeline_of(titanic, landing, 22), tmp_path)
    put(landing, 22, "a.csv", "4,1,big\n")
    with pytest.raises(DataError, match="2 rows share their key with another; the first has id = 4"):
        ids_of(pipeline_of(titanic, landing, 21, 22), tmp_path)


def test_files_that_would_have_one_name_are_refused(titanic, tmp_path):
    for name in ("a_b/c", "a/b_c"):
        (tmp_path / "landing" / name).mkdir(parents=True)
        (tmp_path / "landing" / name / "2026-11-20.csv").write_text(HEADER + "1,1,big\n")
    with pytest.raises(DataError, match=r"two files would both be a_b_c_2026-11-20\.csv"):
        ids_of(pipeline_of(titanic, tmp_path / "landing", pattern="*/*/{date}.csv"), tmp_path)


@settings(max_examples=10, deadline=None)
@given(days=st.lists(st.integers(0, 6), min_size=4, max_size=30), cuts=st.sets(st.integers(2, 7)))
def test_each_row_is_ingested_once_and_never_moves(titanic, tmp_path_factory, days, cuts):
    root = tmp_path_factory.mktemp("rows")
    for day in range(1, 8):
        rows = [f"{row},1,big\n" for row, of in enumerate(days) if of + 1 == day]
        put(root / "landing", day, "a.csv", "".join([*rows, f"{100 + day},1,small\n"]))
    bounds = [1, *sorted(cuts), 8]
    splits: dict[int, str] = {}
    for first, end in pairwise(bounds):
        if first < end:
            table = splits_of(pipeline_of(titanic, root / "landing", first, end - 1), root)
            assert not splits.keys() & table.keys()
            splits |= table
    assert splits == splits_of(pipeline_of(titanic, root / "landing"), root)  # now that all have come
    assert len(splits) == len(days) + 7


def splits_of(pipeline: Pipeline, root: Path) -> dict[int, str]:
    ids = pl.DataFrame({"example_id": sorted(ids_of(pipeline, root))}, schema={"example_id": pl.UInt64})
    return dict(ids.with_columns(assign_split(pipeline.split, columns=()).alias("split")).iter_rows())
