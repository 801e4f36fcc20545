"""The split stage."""

import json

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.examples.shards import scan, write
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.split import split

CATEGORY = {"type": "category", "name": "kind", "classes": ["a", "b", "c"]}
NUMBER = {"type": "number", "name": "price"}


def make_pipeline(label=CATEGORY, **split_settings):
    return Pipeline.model_validate(
        {
            "name": "small",
            "description": "One number",
            "ingest": {
                "source": {"kind": "bundled", "dataset": "digits"},
                "features": {"x": {"type": "number"}},
                "label": label,
            },
            "normalize": {"transforms": {"x": [{"kind": "standardize"}]}},
            "split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.2, **split_settings},
            "train": {
                "model": {"layers": []},
                "optimizer": {"kind": "adam", "learning_rate": 0.01},
                "global_batch_size": 8,
                "epochs": 1,
            },
            "evaluate": {},
            "register": {"thresholds": {}, "compare": {"metric": "loss"}},
        }
    )


def make_normalized(rows=300, classes=3):
    random = np.random.default_rng(2)
    return pl.DataFrame(
        {
            "example_id": np.sort(random.integers(0, 2**64, rows, dtype=np.uint64)),
            "x": random.normal(size=rows).astype(np.float32),
            "label": random.integers(0, classes, rows, dtype=np.int32),
        }
    )


@pytest.fixture
def paths(tmp_path):
    return PipelinePaths(tmp_path, "small")


def read_splits(paths):
    return {name: scan(paths.splits / name).collect() for name in ("train", "validation", "test")}


def test_every_example_is_in_one_split_and_splits_are_sorted(paths):
    normalized = make_normalized()
    write(normalized, paths.normalized)
    split(make_pipeline(), paths)
    splits = read_splits(paths)
    assert pl.concat(splits.values()).sort("example_id").equals(normalized)
    assert all(table["example_id"].is_sorted() for table in splits.values())
    assert splits["train"].height == pytest.approx(180, abs=30)


def test_the_manifest_counts_examples_and_classes(paths):
    write(make_normalized(), paths.normalized)
    split(make_pipeline(), paths)
    manifest = json.loads(paths.manifest.read_text())
    assert (manifest["pipeline"], manifest["seed"]) == ("small", 1)
    for name, table in read_splits(paths).items():
        summary = manifest["splits"][name]
        assert summary["examples"] == table.height == sum(summary["classes"].values())
        assert summary["classes"]["2"] == (table["label"] == 2).sum()
        assert len(summary["digest"]) == 64


def test_digests_depend_on_content_alone(paths):
    digests = []
    for table in (make_normalized(), make_normalized(), make_normalized().with_columns(x=pl.lit(0, pl.Float32))):
        write(table, paths.normalized)
        split(make_pipeline(), paths)
        digests.append(json.loads(paths.manifest.read_text())["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_more_rows_move_no_row_to_another_split(paths):
    more = make_normalized()
    write(more.gather_every(2), paths.normalized)
    split(make_pipeline(), paths)
    before = read_splits(paths)
    write(more, paths.normalized)
    split(make_pipeline(), paths)
    for name, table in read_splits(paths).items():
        assert before[name].join(table, on="example_id", how="anti").is_empty()


def test_a_given_test_set_stays_and_its_column_goes(paths):
    given_split = pl.Series("given_split", ["train"] * 200 + ["test"] * 100)
    normalized = make_normalized().with_columns(given_split)
    write(normalized, paths.normalized)
    split(make_pipeline(test_fraction=0.0), paths)
    splits = read_splits(paths)
    assert splits["test"]["example_id"].equals(normalized["example_id"][200:])
    assert splits["validation"].height > 0
    assert all(table.columns == ["example_id", "x", "label"] for table in splits.values())


def test_a_number_label_has_no_classes(paths):
    write(make_normalized().cast({"label": pl.Float32}), paths.normalized)
    split(make_pipeline(label=NUMBER), paths)
    assert json.loads(paths.manifest.read_text())["splits"]["train"].keys() == {"examples", "digest"}


@pytest.mark.parametrize(
    ("split_settings", "message"),
    [
        ({"validation_fraction": 0.0}, "the validation split is empty; raise split.validation_fraction"),
        ({"test_fraction": 0.0}, "the test split is empty; raise split.test_fraction"),
        ({"validation_fraction": 0.5, "test_fraction": 0.4999999}, "the train split is empty; lower"),
    ],
)
def test_an_empty_split_is_named_with_its_remedy(paths, split_settings, message):
    write(make_normalized(), paths.normalized)
    with pytest.raises(DataError, match=message):
        split(make_pipeline(**split_settings), paths)
    assert not paths.splits.exists()


def test_a_class_that_training_lacks_is_named(paths):
    write(make_normalized(classes=2), paths.normalized)
    with pytest.raises(DataError, match="no training example has kind 'c'"):
        split(make_pipeline(), paths)
    assert not paths.splits.exists()


def test_training_rows_that_share_an_id_with_held_out_ones_are_counted(paths):
    rows = make_normalized().with_columns(given_split=pl.lit("train"))
    repeated = rows[::7].with_columns(given_split=pl.lit("test"))
    write(pl.concat([rows, repeated]).sort("example_id"), paths.normalized, rows_per_file=100)
    split(make_pipeline(overlap="keep", test_fraction=0.0), paths)
    splits = read_splits(paths)
    held_out = pl.concat([splits["validation"], splits["test"]])["example_id"]
    shared = splits["train"]["example_id"].is_in(held_out.implode()).sum()
    assert json.loads(paths.manifest.read_text())["overlap"]["by_id"] == shared > 20
