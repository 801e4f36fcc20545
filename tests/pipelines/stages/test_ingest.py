import hashlib
import json
import shutil

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples import shards
from headrace.components.schema.arrow_schema import arrow_schema
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

ROWS_BY_PIPELINE = {
    "digits": {"rows_read": 1797},
    "mnist": {"rows_read": 70_000, "train_rows": 60_000, "test_rows": 10_000},
    "titanic": {"rows_read": 891},
    "takeoff": {"rows_read": 380, "train_rows": 300, "test_rows": 80},
}
CSV = b"id,size,kind,name\n1,1.5,big,Anna\n2,,small,Otto\n3,0.5,big,Ida\n"


@pytest.fixture(params=ROWS_BY_PIPELINE)
def real(request, repository, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_MIRROR", str(shared_data))
    return load_pipeline(repository / "params.yaml", request.param), PipelinePaths(tmp_path, request.param)


@pytest.fixture
def titanic(repository) -> dict:
    return {"name": "titanic", **yaml.safe_load((repository / "params.yaml").read_text())["titanic"]}


def small(titanic, tmp_path, monkeypatch, content=CSV, **ingest_settings):
    """A pipeline over a small CSV of our own, in a mirror folder."""
    folder = tmp_path / "mirror" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_bytes(content)
    monkeypatch.setenv("HEADRACE_MIRROR", str(tmp_path / "mirror"))
    file = {"name": "rows.csv", "url": "https://example.org/", "sha256": hashlib.sha256(content).hexdigest()}
    settings = {
        "source": {"kind": "delimited", "dataset": "small", "parts": [{"files": [file]}]},
        "key": ["id"],
        "features": {"size": {"type": "number", "nullable": True, "minimum": 0}},
        "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
        **ingest_settings,
    }
    fitting = {"number": {"kind": "impute", "strategy": "median"}, "category": {"kind": "one_hot"}}
    normalize = {
        "transforms": {
            name: [fitting.get(feature["type"], {"kind": "scale_pixels"})]
            for name, feature in settings["features"].items()
        }
    }
    pipeline = Pipeline.model_validate({**titanic, "name": "small", "ingest": settings, "normalize": normalize})
    return pipeline, PipelinePaths(tmp_path, "small")


def files_below(folder) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_real_data_becomes_typed_examples(real) -> None:
    pipeline, paths = real
    ingest(pipeline, paths)
    expected = ROWS_BY_PIPELINE[pipeline.name]
    counts = json.loads(paths.ingest_metrics.read_text())
    assert {name: counts[name] for name in expected} == expected
    assert (counts["rows_kept"], counts["rows_rejected"]) == (expected["rows_read"], 0)
    table = shards.scan(paths.examples).collect()
    assert table.height == expected["rows_read"]
    assert table["example_id"].is_sorted()
    schema = arrow_schema(pipeline.ingest, given_split="train_rows" in expected)
    assert pq.read_schema(next(paths.examples.iterdir())).equals(schema)


def test_ingesting_again_gives_the_same_bytes(titanic, tmp_path, monkeypatch) -> None:
    pipeline, paths = small(titanic, tmp_path, monkeypatch)
    ingest(pipeline, paths)
    first = files_below(tmp_path)
    ingest(pipeline, paths)
    assert files_below(tmp_path) == first
    shutil.rmtree(tmp_path / "data")
    ingest(pipeline, paths)
    assert files_below(tmp_path) == first


def test_a_small_table_is_read_as_params_say(titanic, tmp_path, monkeypatch) -> None:
    ingest(*small(titanic, tmp_path, monkeypatch))
    table = shards.scan(tmp_path / "data" / "small" / "examples").collect()
    assert table.schema == {"example_id": pl.UInt64, "content_id": pl.UInt64, "size": pl.Float64, "kind": pl.String}
    assert sorted(table.drop("example_id", "content_id").rows(), key=str) == [
        (0.5, "big"),
        (1.5, "big"),
        (None, "small"),
    ]


def test_too_many_bad_rows_stop_and_keep_what_was_there(titanic, tmp_path, monkeypatch) -> None:
    ingest(*small(titanic, tmp_path, monkeypatch))
    before = files_below(tmp_path / "data" / "small" / "examples")
    with pytest.raises(
        DataError, match=r"rows\.csv, row 2, column 'size': expected a number of at least 0, found '-1'"
    ):
        ingest(*small(titanic, tmp_path, monkeypatch, content=CSV.replace(b"2,,", b"2,-1,")))
    assert files_below(tmp_path / "data" / "small" / "examples") == before


def test_a_few_bad_rows_are_counted_and_left_out(titanic, tmp_path, monkeypatch) -> None:
    content = CSV.replace(b"2,,", b"2,tall,")
    pipeline, paths = small(titanic, tmp_path, monkeypatch, content=content, max_bad_fraction=0.5)
    ingest(pipeline, paths)
    counts = json.loads(paths.ingest_metrics.read_text())
    assert counts.pop("files")[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert counts == {
        "format_version": 1,
        "rows_read": 3,
        "rows_kept": 2,
        "rows_rejected": 1,
        "rows_left_out": 0,
        "duplicate_rows": 0,
        "rejected_by_reason": {"size: not a number": 1},
    }
    [rejected] = pl.read_parquet(paths.rejected).iter_rows(named=True)
    assert (rejected["file"], rejected["row"], rejected["reason"]) == ("rows.csv", 2, "not a number")


def test_a_file_that_params_no_longer_name_goes_from_raw(titanic, tmp_path, monkeypatch) -> None:
    pipeline, paths = small(titanic, tmp_path, monkeypatch)
    paths.raw.mkdir(parents=True)
    (paths.raw / "old.csv").write_text("old")
    ingest(pipeline, paths)
    assert [path.name for path in paths.raw.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("settings", "content", "error", "message"),
    [
        ({"key": ["Id"]}, CSV, DataError, "no column 'Id'; found id, size, kind, name; did you mean 'id'"),
        ({}, CSV.replace(b"\n3,", b"\n1,"), DataError, "2 rows share their key with another; the first has id = 1"),
        ({}, b"id,size,kind\n", DataError, r"rows\.csv has a header line but no rows"),
        ({}, b"", DataError, r"rows\.csv: expected a header line"),
        (
            {"features": {"photo": {"type": "image", "height": 8, "width": 8}}},
            CSV,
            ParamsError,
            "ingest.features.photo: a source of kind 'delimited' gives no images",
        ),
        (
            {"source": {"kind": "bundled", "dataset": "digits"}},
            CSV,
            ParamsError,
            r"kind 'bundled' gives exactly one image, found size \(number\)",
        ),
        (
            {
                "source": {"kind": "bundled", "dataset": "digits"},
                "features": {"photo": {"type": "image", "height": 8, "width": 8}},
            },
            CSV,
            ParamsError,
            "ingest.key: no column 'id'; this source gives photo and kind",
        ),
    ],
)
def test_what_can_not_be_ingested_is_an_error(
    titanic, tmp_path, monkeypatch, settings, content, error, message
) -> None:
    with pytest.raises(error, match=message):
        ingest(*small(titanic, tmp_path, monkeypatch, content=content, **settings))
    assert not (tmp_path / "data" / "small" / "examples").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": {"kind": {"type": "category"}}}, "the label 'kind' is also a feature"),
        ({"features": {"example_id": {"type": "number"}}}, "a column can't be called 'example_id'"),
        ({"features": {"label": {"type": "number"}}}, "a column can't be called 'label'"),
    ],
)
def test_columns_that_would_collide_are_refused(titanic, tmp_path, monkeypatch, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        small(titanic, tmp_path, monkeypatch, **settings)
