"""Prediction reads by ingest's own readers: the same values of every file, and the same refusals."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.serving_model.prediction_files import joined
from headrace.pipelines.commands.inference.prediction_input import open_input
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest

FEATURES = {
    "n": {"type": "number"},
    "x": {"type": "number", "nullable": True},
    "c": {"type": "category", "nullable": True},
    "day": {"type": "number", "nullable": True, "date_format": "iso"},
}
KINDS = {"csv": "delimited", "tsv": "delimited", "jsonl": "json_lines", "parquet": "parquet"}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
COMPRESS[".zst"] = lambda content: pa.compress(content, "zstd", asbytes=True)


@pytest.fixture(scope="module")
def titanic(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "params.yaml").read_text())["titanic"]


def _pipeline(
    titanic: Mapping[str, Any], file: Path, *, features: Mapping[str, Any] = FEATURES, **ingest: Any
) -> Pipeline:
    """A pipeline whose source is the file."""
    suffix = next(suffix for suffix in KINDS if f".{suffix}" in file.name)
    source: dict[str, Any] = {"kind": KINDS[suffix], "dataset": "small"}
    source["files"] = {"root": str(file.parent), "pattern": file.name}
    if suffix == "tsv":
        source["separator"] = "\t"
    section = {"source": source, "features": features, **ingest}
    section.setdefault("label", {"type": "category", "name": "y", "classes": ["a", "b"]})
    transforms = {
        name: [{"kind": "impute", "strategy": "median"}]
        if one["type"] == "number"
        else [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "one_hot"}]
        for name, one in features.items()
    }
    pipeline = {**titanic, "name": "small", "ingest": section, "normalize": {"transforms": transforms}}
    pipeline |= {"split": {"seed": 1, "validation_fraction": 0.2}, "results": {}}
    return Pipeline.model_validate(pipeline)


def _write(file: Path, rows: Sequence[Mapping[str, Any]], *, suffix: str, compression: str) -> Path:
    names = list(rows[0])
    if suffix == "parquet":
        columns = {name: [row[name] for row in rows] for name in names}
        pq.write_table(pa.table(columns), file)
        return file
    if suffix == "jsonl":
        content = "".join(f"{json.dumps(row)}\n" for row in rows)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, names, delimiter="\t" if suffix == "tsv" else ",", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue()
    file = file.with_name(file.name + compression)
    file.write_bytes(COMPRESS[compression](content.encode()))
    return file


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
_CATEGORIES = st.one_of(_TEXTS, st.sampled_from(["1", "1.0", "01", "true", "NA", " a", "=1", "None", "-0"]))
_NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53).map(float), st.just(1e300)
)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.none() | _NUMBERS,
            "c": st.none() | _CATEGORIES,
            "day": st.none() | st.dates().filter(lambda day: day.year >= 1000).map(str),
        }
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("suffix", KINDS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, compression=st.sampled_from(list(COMPRESS)))
def test_the_values_that_a_model_is_given_are_those_that_ingest_stored(
    titanic: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    rows: list[dict[str, Any]],
    compression: str,
) -> None:
    folder = tmp_path_factory.mktemp("table")
    whole = [{"id": place, "n": place, **row, "y": "a"} for place, row in enumerate(rows)]
    file = _write(folder / f"rows.{suffix}", whole, suffix=suffix, compression=compression)
    pipeline, paths = _pipeline(titanic, file, key=["id"]), PipelinePaths(folder, "small")

    ingest(pipeline, paths)
    origin, examples = joined(open_input(pipeline, file).blocks)

    stored = shards.scan(paths.examples).sort("n").select(list(FEATURES)).collect()
    assert examples.equals(stored)
    assert origin["id"].to_list() == [str(place) for place in range(len(rows))]


def _both(titanic: Mapping[str, Any], file: Path, root: Path, **options: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What ingest stores of a file, sorted by n, and what a model is given of it."""
    pipeline, paths = _pipeline(titanic, file, **options), PipelinePaths(root, "small")
    ingest(pipeline, paths)
    features = list(pipeline.ingest.features)
    return shards.scan(paths.examples).sort(features[0]).select(features).collect(), joined(
        open_input(pipeline, file).blocks
    )[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s20.jsonl", ["1.0", "2.0", "1.0", "3.0"]),  # as they are written
        ("s21.jsonl", ["1", "2.0", "1.5", "3"]),
        ("s23.jsonl", ["true", "false", "true", "true"]),
        ("s1.parquet", ["1", "2", None, "3"]),
        ("s3.parquet", ["true", "false", None, "true"]),
        ("skb.parquet", None),
        ("skj.jsonl", None),
    ],
)
def test_a_category_of_numbers_or_truth_values_is_the_same_text_for_both(
    titanic: dict[str, Any], cases: Path, tmp_path: Path, name: str, expected: list[str | None] | None
) -> None:
    first, category = ("rowno", "v") if name.startswith(("s1", "s2", "s3")) else ("id", "c")
    features = {first: {"type": "number"}, category: {"type": "category", "nullable": True}}
    stored, given_ = _both(titanic, cases / "predict" / name, tmp_path, features=features)
    assert given_.equals(stored)
    assert expected is None or given_[category].to_list() == expected


def test_a_compressed_file_is_read_whatever_it_is_called(titanic: dict[str, Any], cases: Path, tmp_path: Path) -> None:
    content = (cases / "predict" / "rows.csv.gz").read_bytes()
    for name in ("rows.csv.gz", "rows.csv"):
        (tmp_path / name).write_bytes(content)
        pipeline = _pipeline(titanic, tmp_path / name, features={"c": {"type": "category"}}, key=["id"])
        assert joined(open_input(pipeline, tmp_path / name).blocks)[1]["c"].to_list() == ["1", "2", "3"]


WRONG = {
    "a truth value for a number": ('{"x": true}', "row 1, column 'x': expected a number, found 'true'"),
    "a key twice": ('{"x": 1, "x": 2}', "row 1: key 'x' comes 2 times"),
    "a category twice": ('{"x": 1, "c": "a", "c": "a"}', "row 1: key 'c' comes 2 times"),
    "half of a surrogate pair": (r'{"x": 1, "c": "\ud800"}', "found half of a surrogate pair"),
    "an infinity": ('{"x": 1e999}', "row 1, column 'x': expected a finite number, found '1e999'"),
    "NaN": ('{"x": NaN}', "expected a finite number"),
    "a list": ('{"x": [1]}', "key 'x': expected a value, found a list"),
    "an object": ('{"x": 1, "c": {"a": 1}}', "key 'c': expected a value, found an object"),
    "a number that float64 can't hold": ('{"x": 12345678901234567890123}', "whole number that float64 can hold"),
    "an empty number": ('{"x": ""}', "expected a number, found ''"),
    "a day that is none": ('{"x": 1, "day": "2026-02-30"}', "a date or time as ISO 8601"),
    "a row cut off": ('{"x": 1', "row 1: not a JSON object"),
    "two rows in a line": ('{"x": 1} {"x": 2}', "row 1: not a JSON object"),
}


@pytest.mark.parametrize(("line", "message"), WRONG.values(), ids=WRONG)
def test_what_ingest_refuses_prediction_refuses_in_the_same_words(
    titanic: dict[str, Any], tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(line.replace("{", '{"y": "a", ', 1) + "\n")
    pipeline = _pipeline(titanic, file, features={name: one for name, one in FEATURES.items() if name != "n"})
    with pytest.raises(DataError) as refused:
        ingest(pipeline, PipelinePaths(tmp_path, "small"))
    assert message in str(refused.value)

    with pytest.raises(DataError) as error:
        joined(open_input(pipeline, file).blocks)
    assert message in str(error.value)
    assert str(error.value) in str(refused.value)


@pytest.mark.parametrize("name", ["bool.jsonl", "dupkey.jsonl", "surr.jsonl"])
def test_rows_of_the_titanic_that_ingest_refuses(repository: Path, cases: Path, name: str) -> None:
    from headrace.pipelines.params import load_pipeline

    pipeline = load_pipeline(repository / "params.yaml", "titanic")
    with pytest.raises(DataError, match=r"row 1.*(Age|Sex)"):
        joined(open_input(pipeline, cases / "predict" / name).blocks)


def test_a_large_id_stays_as_it_is_written(repository: Path, cases: Path) -> None:
    from headrace.pipelines.params import load_pipeline

    pipeline = load_pipeline(repository / "params.yaml", "titanic")
    origin, _ = joined(open_input(pipeline, cases / "predict" / "bigid.jsonl").blocks)
    assert origin["PassengerId"].to_list() == ["12345678901234567890123"]


def test_a_name_with_brackets_is_one_file(titanic: dict[str, Any], cases: Path) -> None:
    file = cases / "predict" / "batch[1].parquet"
    features = {"r": {"type": "number"}, "c": {"type": "category"}}
    pipeline = _pipeline(titanic, file, features=features, key=["id"])
    assert joined(open_input(pipeline, file).blocks)[0]["id"].to_list() == ["91", "92"]


def test_a_missing_key_is_refused_and_a_key_that_is_in_no_row_is_left_out(
    titanic: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    pipeline = _pipeline(titanic, file, features={"n": {"type": "number"}}, key=["id"])
    file.write_text('{"n": 1}\n{"n": 2, "id": null}\n')
    assert joined(open_input(pipeline, file).blocks)[0].columns == ["row"]
    file.write_text('{"n": 1}\n{"n": 2, "id": 7}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl, row 1, column 'id': expected a key, found nothing"):
        joined(open_input(pipeline, file).blocks)


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from(
        ["", " 1 ", "1e400", "nan", "1,5", "\ud800", "true", "=1", "2026-11-20", "2026-11-20T12:00", "20.11.2026"]
    ),
    st.lists(st.integers(), max_size=1),
    st.just({"a": 1}),
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(("x", "c", "day"), _VALUES)), min_size=1, max_size=3))
def test_any_json_is_read_by_both_to_the_same_values_or_refused_by_both(
    titanic: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps({'n': place, **row, 'y': 'a'})}\n" for place, row in enumerate(rows)))
    pipeline, paths = _pipeline(titanic, file), PipelinePaths(folder, "small")
    try:
        examples = joined(open_input(pipeline, file).blocks)[1]
    except DataError as error:
        with pytest.raises(DataError) as refused:
            ingest(pipeline, paths)
        assert str(error).partition("; ")[0] in str(refused.value)
    else:
        ingest(pipeline, paths)
        assert examples.equals(shards.scan(paths.examples).sort("n").select(list(FEATURES)).collect())


def _renamed(titanic: Mapping[str, Any], file: Path, *renamed: Sequence[str]) -> Pipeline:
    """A pipeline of n and x whose source has parts like the file, each with `columns` in place of its header."""
    features = {"n": {"type": "number"}, "x": {"type": "number"}}
    pipeline = _pipeline(titanic, file, features=features, key=["id"]).model_dump(mode="json", by_alias=True)
    parts = [{"files": [{"name": file.name, "url": file.name, "columns": columns}]} for columns in renamed]
    pipeline["ingest"]["source"] = {"kind": "delimited", "dataset": "small", "parts": parts}
    return Pipeline.model_validate(pipeline)


def test_names_that_stand_in_place_of_a_header_do_so_in_predict_too(titanic: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("#Number,Speed(km/h),Weight(ton),Kind\n7,310,261,a\n8,312,221,b\n")
    pipeline, paths = _renamed(titanic, file, ["id", "n", "x", "y"]), PipelinePaths(tmp_path, "small")
    ingest(pipeline, paths)
    origin, examples = joined(open_input(pipeline, file).blocks)
    assert examples.equals(shards.scan(paths.examples).sort("n").select("n", "x").collect())
    assert (examples.rows(), origin["id"].to_list()) == ([(310, 261), (312, 221)], ["7", "8"])


@pytest.mark.parametrize(
    ("header", "renamed", "message"),
    [
        ("x,n,id", [["id", "n"]], None),  # another count: by its header
        ("x,n,id,y", [["id", "n", "y", "z"]], None),  # not all that is wanted
        ("x,n,id", [["id", "n", "x"]], "'x' may be one column by the header"),
        ("a,b,c", [["id", "n", "x"], ["x", "n", "id"]], "'x' may be .* which has id, n, x or x, n, id; order"),
        ("a,b", [["id", "n", "x"]], "no column 'n'; found a, b"),
    ],
)
def test_a_header_may_be_meant_in_one_way_alone(
    titanic: dict[str, Any], tmp_path: Path, header: str, renamed: list[list[str]], message: str | None
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"{header}\n{','.join(map(str, range(header.count(',') + 1)))}\n")
    pipeline = _renamed(titanic, file, *renamed)
    if message is None:
        assert joined(open_input(pipeline, file).blocks)[1].rows() == [(1, 0)]
        return
    with pytest.raises(DataError, match=message):
        joined(open_input(pipeline, file).blocks)
