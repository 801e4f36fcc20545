"""One table in every format gives the same examples."""

import gzip
import hashlib
import io
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
import yaml

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples import shards
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

TABLE = pl.DataFrame(
    {
        "id": [12345678901234567, 3, 2**63 - 1, 1],
        "size": [0.1, None, 1e-300, 4.0],
        "seen": pl.Series(["2026-11-20", None, "1969-12-31", "2026-11-21"]).str.to_date(),
        "kind": ["big", "small", "big", "small"],
        "more": [1, 2, 3, 4],
    }
)
SETTINGS = {
    "key": ["id"],
    "features": {
        "size": {"type": "number", "nullable": True},
        "seen": {"type": "number", "nullable": True, "date_format": "iso"},
    },
    "label": {"type": "category", "name": "kind", "classes": ["big", "small"]},
}


@pytest.fixture(scope="module")
def titanic(repository) -> dict:
    return {"name": "titanic", **yaml.safe_load((repository / "params.yaml").read_text())["titanic"]}


def write(file: Path, table: pl.DataFrame) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = table.with_columns(pl.col(pl.Date).cast(pl.String))
    if ".csv" in file.name:
        content = text.write_csv().encode()
    elif ".jsonl" in file.name:
        content = text.write_ndjson().encode()
    else:
        table.write_parquet(content := io.BytesIO())
        content = content.getvalue()
    if file.suffix == ".gz":
        content = gzip.compress(content)
    if file.suffix == ".zst":
        content = pa.compress(content, "zstd", asbytes=True)
    file.write_bytes(content)
    return file


def small(titanic, tmp_path, source, **settings) -> tuple[Pipeline, PipelinePaths]:
    section = {**SETTINGS, **settings, "source": {"dataset": "small", **source}}
    transforms = {name: [{"kind": "impute", "strategy": "median"}] for name in section["features"]}
    pipeline = {**titanic, "name": "small", "ingest": section, "normalize": {"transforms": transforms}}
    pipeline |= {"split": {"seed": 1, "validation_fraction": 0.2}, "results": {}}
    return Pipeline.model_validate(pipeline), PipelinePaths(tmp_path, "small")


def examples(pipeline, paths) -> bytes:
    ingest(pipeline, paths)
    [file] = shards.files(paths.examples)
    return file.read_bytes()


def test_every_format_gives_the_same_examples(titanic, tmp_path) -> None:
    found = {}
    for suffix in ("csv", "csv.gz", "csv.zst", "parquet", "jsonl", "jsonl.gz", "jsonl.zst"):
        kind = {"csv": "delimited", "parquet": "parquet", "jsonl": "json_lines"}[suffix.split(".")[0]]
        for number, rows in enumerate((TABLE[:2], TABLE[2:])):
            write(tmp_path / suffix / "in" / f"{number}.{suffix}", rows)
        files = {"root": str(tmp_path / suffix), "pattern": f"**/*.{suffix}"}
        found[suffix] = examples(*small(titanic, tmp_path, {"kind": kind, "files": files}))
    assert len(set(found.values())) == 1
    table = pl.read_parquet(found["csv"])
    assert sorted(table["seen"].drop_nulls()) == [-1.0, 20777.0, 20778.0]


@pytest.mark.parametrize(("kind", "suffix"), [("parquet", "parquet"), ("json_lines", "jsonl")])
def test_pinned_files_have_a_split_and_a_checksum(titanic, tmp_path, kind, suffix) -> None:
    parts = []
    for split, rows in (("train", TABLE[:3]), ("test", TABLE[3:])):
        file = write(tmp_path / "files" / f"{split}.{suffix}", rows)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        parts.append({"file": {"name": file.name, "url": str(file), "sha256": sha256}, "given_split": split})
    pipeline, paths = small(titanic, tmp_path, {"kind": kind, "parts": parts})
    ingest(pipeline, paths)
    report = json.loads(paths.ingest_metrics.read_text())
    assert (report["train_rows"], report["test_rows"]) == (3, 1)


def test_a_changed_file_only_is_read_again(titanic, tmp_path) -> None:
    for number in range(3):
        write(tmp_path / "rows" / f"{number}.parquet", TABLE.with_columns(pl.col("id") - 10 * number))
    pipeline, paths = small(titanic, tmp_path, {"kind": "parquet", "files": {"root": str(tmp_path / "rows")}})
    first = examples(pipeline, paths)
    runs = {folder.name for folder in paths.runs.iterdir()}
    write(tmp_path / "rows" / "1.parquet", TABLE[:3].with_columns(pl.col("id") - 10))
    assert len({folder.name for folder in paths.runs.iterdir()} & runs) == 3
    assert pl.read_parquet(first).height == 12
    assert pl.read_parquet(examples(pipeline, paths)).height == 11
    assert len({folder.name for folder in paths.runs.iterdir()} & runs) == 2


def test_a_rejected_row_is_named_by_its_file_and_row(titanic, tmp_path) -> None:
    for number in range(2):
        write(tmp_path / "rows" / f"{number}.jsonl", TABLE.with_columns(kind=pl.lit("small")))
    with (tmp_path / "rows" / "1.jsonl").open("a") as stream:
        stream.write('{"id": 5, "size": 1, "kind": "huge"}\n')
    files = {"root": str(tmp_path / "rows")}
    pipeline, paths = small(titanic, tmp_path, {"kind": "json_lines", "files": files}, repeated_keys="first")
    with pytest.raises(DataError, match=r"1.jsonl, row 5, column 'kind': expected one of big, small, found 'huge'"):
        ingest(pipeline, paths)


def test_what_a_source_can_t_give_is_a_mistake(titanic, tmp_path) -> None:
    image = {"photo": {"type": "image", "height": 8, "width": 8}}
    pipeline, paths = small(titanic, tmp_path, {"kind": "json_lines", "files": {"root": "/rows"}})
    ingested = pipeline.ingest.model_copy(
        update={
            "features": pipeline.ingest.model_validate({**pipeline.ingest.model_dump(), "features": image}).features
        }
    )
    with pytest.raises(ParamsError, match="'json_lines' gives no images"):
        ingest(pipeline.model_copy(update={"ingest": ingested}), paths)
