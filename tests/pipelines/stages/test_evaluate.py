"""The evaluate stage, on files as the stages before it write them."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.examples.shards import write
from headrace.components.numerics import NUMERICS
from headrace.pipelines.artifacts.artifact import file_digest, write_artifact
from headrace.pipelines.artifacts.outcomes_table import read_header
from headrace.pipelines.artifacts.run_record import RunFile, result_digests
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.evaluate import evaluate
from headrace.pipelines.tracking.mlflow_runs import close_run, open_run
from headrace.pipelines.tracking.server import connect

IDENTITY = {"identity_digest": "1" * 64, "identity": {}, "git_dirty": False, "groups": []}
IDENTITY |= dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")

LOCAL = {"url": "https://example.org/a.csv", "sha256": "0" * 64, "name": "a.csv"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One project for all tests here: a fresh MLflow store takes seconds to make."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(autouse=True)
def _local_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def _pipeline(name: str, *, features: dict[str, Any], label: dict[str, Any], transform: str) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": name,
            "description": "a <test> pipeline",
            "ingest": {
                "source": {"kind": "delimited", "dataset": name, "parts": [{"files": [LOCAL]}]},
                "features": features,
                "label": label,
            },
            "normalize": {
                "transforms": {
                    feature: [{"kind": "one_hot" if settings["type"] == "category" else transform}]
                    for feature, settings in features.items()
                }
            },
            "split": {"validation_fraction": 0.2, "test_fraction": 0.2},
            "train": {
                "model": {"layers": []},
                "optimizer": {"kind": "sgd", "learning_rate": 0.1},
                "global_batch_size": 8,
                "epochs": 2,
            },
            "evaluate": {"worst_examples": 3},
            "register": {"thresholds": {}, "compare": {"metric": "loss"}},
        }
    )


def _leave_files(paths: PipelinePaths, examples: pl.DataFrame, model: keras.Model, *, metric: str, run_id: str) -> None:
    """Write what ingest, split and train would write: the second half of the examples is the test split."""
    label = examples.columns[-1]
    labels = examples[label]
    indices = labels.cast(pl.Int32) if labels.dtype == pl.String else labels.cast(pl.Float32)
    splits = {"train": examples[:4], "validation": examples[4:6], "test": examples[6:]}
    write(examples, paths.examples)
    summaries = {}
    for name, rows in splits.items():
        write(
            rows.select("example_id", label=indices.filter(examples["example_id"].is_in(rows["example_id"].implode()))),
            paths.splits / name,
        )
        counts = {index: rows.filter(pl.col(label).cast(pl.String) == index).height for index in ("0", "1")}
        summaries[name] = SplitSummary(examples=rows.height, digest=name * 8, classes=counts)
    overlap = OverlapCounts(by_id=0, by_content=0, left_out=0)
    manifest = SplitManifest(pipeline=paths.pipeline, seed=1, digest="d" * 64, overlap=overlap, splits=summaries)
    write_artifact(paths.manifest, manifest)
    paths.model.parent.mkdir(parents=True)
    model.save(paths.model)
    paths.history.parent.mkdir(parents=True)
    paths.history.write_text(
        f"epoch,loss,validation_loss,{metric},validation_{metric},seconds\n1,2,3,0.5,0.4,1\n2,1,2,0.6,0.5,1\n"
    )
    run = RunFile(
        pipeline=paths.pipeline,
        run_name="r",
        mlflow_run_id=run_id,
        mlflow_experiment=f"headrace/{paths.pipeline}",
        ray_job_id="embedded",
        data_digest="d" * 64,
        git_commit="c" * 40,
        num_workers=2,
        owner="hand",
        epochs=2,
        best_epoch=2,
        **IDENTITY,
        **result_digests(paths),
    )
    write_artifact(paths.run, run)


def _binary(root: Path, name: str, *, run_id: str) -> tuple[Pipeline, PipelinePaths]:
    """A model that says 1 for bright pictures; the test split has a picture twice, and one with the wrong label."""
    pipeline = _pipeline(
        name,
        features={"image": {"type": "image", "height": 2, "width": 2, "maximum": 16}},
        label={"type": "category", "name": "bright", "classes": ["0", "1"]},
        transform="scale_pixels",
    )
    values = [0, 16, 1, 15, 2, 14, 3, 13, 4, 4, 5]
    examples = pl.DataFrame(
        {
            "example_id": pl.Series([1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10], dtype=pl.UInt64),
            "image": pl.Series([[value] * 4 for value in values], dtype=pl.Array(pl.UInt8, 4)),
            "bright": ["0", "1", "0", "1", "0", "1", "0", "1", "0", "0", "1"],
        }
    )
    image = keras.Input((2, 2, 1), name="image")
    outputs = keras.layers.Dense(2, activation="softmax", name="output")(keras.layers.Flatten()(image))
    model = keras.Model({"image": image}, outputs)
    model.get_layer("output").set_weights([np.array([[-0.1, 0.1]] * 4), np.array([3.2, -3.2])])
    paths = PipelinePaths(root, name)
    _leave_files(paths, examples, model, metric="accuracy", run_id=run_id)
    return pipeline, paths


def test_a_category_has_metrics_plots_a_report_and_its_run_in_mlflow(root: Path) -> None:
    run_id = open_run(root, experiment="headrace/bright", run_name="r", tags={}, params={})
    close_run(root, run_id, status="FINISHED")
    pipeline, paths = _binary(root, "bright", run_id=run_id)

    evaluate(pipeline, paths)

    metrics = json.loads(paths.metrics.read_text())
    assert (metrics["examples"], metrics["data_digest"]) == (5, "test" * 8)
    expected = {name: digest for name, digest in result_digests(paths).items() if name != "history_sha256"}
    expected |= {"format_version": 2, "evaluation_version": NUMERICS["evaluate"]}
    assert {name: metrics[name] for name in expected} == expected
    assert metrics["accuracy"] == pytest.approx(4 / 5)
    assert {"loss", "precision", "recall", "f1", "roc_auc", "average_precision"} < metrics.keys()
    assert sorted(file.name for file in paths.plots.iterdir()) == [
        "calibration.csv",
        "calibration.png",
        "class_balance.png",
        "confusion_matrix.png",
        "learning_curves.png",
        "precision_recall.csv",
        "precision_recall.png",
        "roc.csv",
        "roc.png",
        "thresholds.png",
        "worst_examples.png",
    ]
    outcomes = pl.read_parquet(paths.outcomes)
    assert outcomes["example_id"].to_list() == [7, 8, 9, 9, 10]
    assert outcomes["target"].to_list() == ["0", "1", "0", "0", "1"]
    assert outcomes["prediction"].to_list() == ["0", "1", "0", "0", "0"]
    assert outcomes["loss"].mean() == pytest.approx(metrics["loss"])
    assert metrics["outcomes_sha256"] == file_digest(paths.outcomes)
    header = {**read_header(paths).model_dump(), "format_version": 2}
    assert {name: metrics.get(name, "bright") for name in header} == header
    page = paths.report.read_text(encoding="utf-8")
    assert "a &lt;test&gt; pipeline" in page
    # The worst, all that there are, and of these five what speaks for the prediction, beside the picture.
    assert page.count("data:image/png;base64,") == 3 + 5 + 2 * 5
    assert "Is a network worth it?" in page
    assert "The threshold was chosen on the validation split" in page
    client = connect(root)
    assert client.get_run(run_id).data.metrics["test_accuracy"] == pytest.approx(4 / 5)
    assert client.get_run(run_id).info.status == "FINISHED"
    tags = client.get_run(run_id).data.tags
    assert tags["headrace.weights_digest"] == expected["weights_digest"]
    assert tags["headrace.evaluation_version"] == str(NUMERICS["evaluate"])
    logged = {file.path for file in client.list_artifacts(run_id, "evaluation")}
    assert logged == {"evaluation/metrics.json", "evaluation/plots", "evaluation/report.html"}


def test_the_same_files_give_the_same_report_even_if_mlflow_does_not_know_the_run(root: Path) -> None:
    pipeline, paths = _binary(root, "again", run_id="0" * 32)

    evaluate(pipeline, paths)
    first = {file: file.read_bytes() for file in paths.reports.rglob("*") if file.is_file()}
    evaluate(pipeline, paths)

    assert {file: file.read_bytes() for file in paths.reports.rglob("*") if file.is_file()} == first


def test_a_number_has_errors_in_its_own_unit_and_residuals(root: Path) -> None:
    pipeline = _pipeline(
        "double",
        features={"x": {"type": "number"}, "word": {"type": "category", "nullable": True}},
        label={"type": "number", "name": "y", "unit": "m"},
        transform="standardize",
    )
    examples = pl.DataFrame(
        {
            "example_id": pl.Series(range(10), dtype=pl.UInt64),
            "x": [float(value) for value in range(10)],
            "word": ["a", None] * 5,
            "y": [2.0 * value + 3 * (value == 9) for value in range(10)],
        }
    )
    x, word = keras.Input((1,), name="x"), keras.Input((1,), dtype="string", name="word")
    known = keras.layers.StringLookup(vocabulary=["a"], output_mode="one_hot")(word)
    joined = keras.layers.Concatenate()([x, known])
    outputs = keras.layers.Dense(1, use_bias=False, name="output")(joined)
    model = keras.Model({"x": x, "word": word}, outputs)
    model.get_layer("output").set_weights([np.array([[2.0], [0], [0]])])
    paths = PipelinePaths(root, "double")
    _leave_files(paths, examples, model, metric="root_mean_squared_error", run_id="0" * 32)

    evaluate(pipeline, paths)

    metrics = json.loads(paths.metrics.read_text())
    assert (metrics["loss"], metrics["root_mean_squared_error"]) == pytest.approx((9 / 4, 1.5))
    assert metrics["intervals"] == {}  # of four rows
    outcomes = pl.read_parquet(paths.outcomes)
    assert outcomes.columns == ["example_id", "target", "prediction", "loss", "raw.word"]
    assert outcomes["raw.word"].to_list() == ["a", None, "a", None]  # as ingested
    assert metrics["mean_absolute_error"] == pytest.approx(3 / 4)
    drawn = {"errors", "learning_curves", "predicted_against_true", "residuals"}
    assert {file.stem for file in paths.plots.iterdir()} == drawn
    assert "1.5 m" in paths.report.read_text(encoding="utf-8")


def test_metrics_of_enough_rows_have_intervals_everywhere(root: Path) -> None:
    run_id = open_run(root, experiment="headrace/many", run_name="r", tags={}, params={})
    close_run(root, run_id, status="FINISHED")
    pipeline = _pipeline(
        "many", features={"x": {"type": "number"}}, label={"type": "number", "name": "y"}, transform="standardize"
    )
    draw = np.random.default_rng(0)
    values = draw.normal(size=60)
    ids = pl.Series(range(60), dtype=pl.UInt64)
    examples = pl.DataFrame({"example_id": ids, "x": values, "y": values + draw.normal(0, 0.5, 60)})
    x = keras.Input((1,), name="x")
    paths = PipelinePaths(root, "many")
    model = keras.Model({"x": x}, x * 1.0)
    _leave_files(paths, examples, model, metric="root_mean_squared_error", run_id=run_id)

    evaluate(pipeline, paths)

    metrics = json.loads(paths.metrics.read_text())
    assert metrics["intervals"].keys() == {"loss", "root_mean_squared_error", "mean_absolute_error", "r2"}
    low, high = metrics["intervals"]["loss"]
    assert low < metrics["loss"] < high
    logged = connect(root).get_run(run_id).data.metrics
    assert (logged["test_loss_low"], logged["test_loss_high"]) == (low, high)
    page = paths.report.read_text(encoding="utf-8")
    assert f"{low:.4g} to {high:.4g}" in page
    assert "at 95 % confidence" in page


def test_a_split_of_other_data_is_an_error(root: Path) -> None:
    pipeline, paths = _binary(root, "other", run_id="0" * 32)
    write(pl.DataFrame({"example_id": pl.Series([77], dtype=pl.UInt64), "label": [0]}), paths.splits / "test")

    with pytest.raises(DataError, match="the test split has 1 rows, but 0 rows"):
        evaluate(pipeline, paths)


def test_without_a_trained_model_the_error_says_what_makes_one(root: Path) -> None:
    pipeline, paths = _binary(root, "untrained", run_id="0" * 32)
    paths.model.unlink()

    with pytest.raises(DataError, match=r"reads models/untrained/model\.keras, which is not there; run `headrace "):
        evaluate(pipeline, paths)


def test_a_model_or_data_that_was_changed_since_is_not_evaluated(root: Path) -> None:
    pipeline, paths = _binary(root, "spoiled", run_id="0" * 32)
    whole = paths.model.read_bytes()
    model = keras.saving.load_model(paths.model)
    model.set_weights([weight * 0 for weight in model.get_weights()])
    model.save(paths.model)
    with pytest.raises(DataError, match=r"is not the file that run\.json names: .*`headrace train spoiled`"):
        evaluate(pipeline, paths)

    paths.model.write_bytes(whole)
    paths.manifest.write_text(paths.manifest.read_text().replace("d" * 64, "e" * 64))
    with pytest.raises(DataError, match=r"was trained on other data than is in .*`headrace run spoiled`"):
        evaluate(pipeline, paths)
    assert not paths.metrics.exists()
