"""A project in a folder whose name is a pattern elsewhere, from raw rows to predictions."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split


def _section(titanic: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """A category c, as numbers, from which y follows: a where it is 2."""
    data = {
        "source": {"dataset": "small", **source},
        "key": ["id"],
        "features": {"r": {"type": "number"}, "c": {"type": "category"}},
        "label": {"type": "category", "name": "y", "classes": ["a", "b"]},
    }
    train = {**titanic["train"], "epochs": 12, "num_workers": 1, "global_batch_size": 16}
    train["optimizer"] = {"kind": "adam", "learning_rate": 0.05}
    return {
        **{name: value for name, value in titanic.items() if name not in ("results", "schedule")},
        "ingest": data,
        "normalize": {"transforms": {"r": [{"kind": "standardize"}], "c": [{"kind": "one_hot"}]}},
        "split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.2},
        "train": train,
        "register": {"thresholds": {"accuracy": {"minimum": 0.9}}, "compare": {"metric": "accuracy"}},
    }


@pytest.fixture(scope="module")
def titanic(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "params.yaml").read_text())["titanic"]


@pytest.mark.parametrize("name", ["a [b]", "*", "what?", "[!x]", "ä ö {1}", "date=2026-11-20"])
def test_data_steps_take_no_folder_for_a_pattern(
    titanic: dict[str, Any], cases: Path, tmp_path: Path, name: str
) -> None:
    root = tmp_path / name
    (root / "raw[1]").mkdir(parents=True)
    shutil.copy(cases / "predict" / "skj.jsonl", root / "raw[1]" / "rows[1].jsonl")
    (root / "raw[1]" / "rows1.jsonl").write_text("not this one\n")
    source = {"kind": "json_lines", "parts": [{"file": {"name": "rows.jsonl", "url": "raw[1]/rows[1].jsonl"}}]}
    pipeline = Pipeline.model_validate({"name": "small", **_section(titanic, source)})
    paths = PipelinePaths(root, "small")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    rows = sum(pl.scan_parquet(file, glob=False).collect().height for file in paths.splits.rglob("*.parquet"))
    assert rows == len((cases / "predict" / "skj.jsonl").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_project_of_an_odd_folder_runs_whole_and_predicts_what_it_was_trained_on(
    titanic: dict[str, Any],
    cases: Path,
    tmp_path: Path,
    copy_repository: Callable[[Path], Path],
    headrace: Callable[..., str],
) -> None:
    root = copy_repository(tmp_path / "ä project [1]")
    for file in ("skj.jsonl", "skc.csv", "skc_pred.csv"):
        shutil.copy(cases / "predict" / file, root / file)
    params = {"pipelines": ["json", "csv"]}
    for name, kind, file in (("json", "json_lines", "skj.jsonl"), ("csv", "delimited", "skc.csv")):
        one = {"name": file, "url": file}
        source = {"kind": kind, "parts": [{"file": one} if kind == "json_lines" else {"files": [one]}]}
        params[name] = _section(titanic, source)
    (root / "params.yaml").write_text(yaml.safe_dump(params))

    for name in ("json", "csv"):
        headrace(root, "run", name)
    shutil.copy(root / "skj.jsonl", root / "rows[1].jsonl")
    for name, file, warned in (
        ("json", "rows[1].jsonl", False),
        ("csv", "skc.csv", False),
        ("csv", "skc_pred.csv", True),  # 1.0 for 1
    ):
        said = headrace(root, "predict", name, "--input", file, "--output", "out[1].csv")
        predicted = pl.read_csv(root / "out[1].csv", glob=False)
        expected = pl.read_csv(root / "skc.csv", glob=False, infer_schema=False)["y"]
        if name == "json":
            expected = pl.read_ndjson((root / "skj.jsonl").read_bytes())["y"]
        assert (predicted["prediction"] == expected).mean() > 0.95
        assert ("whole numbers in another form than the model knows" in said) == warned
