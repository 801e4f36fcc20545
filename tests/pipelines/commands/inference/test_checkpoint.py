"""A checkpoint's model, without training."""

import json

import keras
import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.components.models.layers.basic import Dense
from headrace.components.models.settings import Model
from headrace.components.serving_model.saved_model import load_model
from headrace.components.serving_model.saved_model import predict as outputs_of
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.training.restored_model import restored_model
from headrace.components.training.state import TrainingState
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary
from headrace.pipelines.commands.inference.checkpoint import checkpoint_model, evaluate_checkpoint, read_checkpoint
from headrace.pipelines.commands.inference.predictions import write_predictions
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths

IDENTITY = {"identity_digest": "1" * 64, "identity": {}, "git_dirty": False, "groups": []}
IDENTITY |= dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")

STEPS = (4, 8)
FITTED = {
    "features": {
        name: {
            "feature": {"type": "number"},
            "transforms": [{"kind": "standardize", "mean": 60.0, "standard_deviation": 20.0}],
            "shape": [1],
        }
        for name in ("speed", "weight")
    },
    "label": {"type": "number", "name": "distance", "unit": "m"},
    "label_transform": {"kind": "standardize", "mean": 300.0, "standard_deviation": 90.0},
    "training_examples": 4,
}


def with_units(pipeline: Pipeline, units: int) -> Pipeline:
    model = Model(layers=(Dense(units=units, activation="silu"),))
    return pipeline.model_copy(update={"train": pipeline.train.model_copy(update={"model": model})})


def write_manifest(paths: PipelinePaths, *, digest: str) -> None:
    splits = {name: SplitSummary(examples=4, digest=digest) for name in ("train", "validation", "test")}
    overlap = OverlapCounts(by_id=0, by_content=0, left_out=0)
    manifest = SplitManifest(pipeline=paths.pipeline, seed=1, digest=digest, overlap=overlap, splits=splits)
    write_artifact(paths.manifest, manifest)


@pytest.fixture(scope="module")
def takeoff(repository) -> Pipeline:
    return with_units(load_pipeline(repository / "params.yaml", "takeoff"), 16)


@pytest.fixture
def paths(tmp_path, takeoff) -> PipelinePaths:
    """What split and train write: two checkpoints of other weights, and the model of the second."""
    paths = PipelinePaths(tmp_path / "a project", "takeoff")
    examples = pl.DataFrame(
        {
            "example_id": pl.Series(range(6), dtype=pl.UInt64),
            "speed": [50.0, 60.0, 70.0, 80.0, 90.0, 100.0],
            "weight": [40.0, 41.0, 42.0, 43.0, 44.0, 45.0],
            "distance": [200.0, 250.0, 300.0, 350.0, 400.0, 450.0],
        }
    )
    for folder, table in ((paths.examples, examples), (paths.splits / "test", examples[2:].select("example_id"))):
        folder.mkdir(parents=True)
        table.write_parquet(folder / "part-00000.parquet")
    paths.normalized.mkdir()
    paths.statistics.write_text(json.dumps(FITTED))
    write_manifest(paths, digest="same")
    fitted = FittedTable.model_validate(FITTED)
    for seed, step in enumerate(STEPS):
        keras.utils.set_random_seed(seed)
        shapes = [(2, 16), (16,), (16, 1), (1,)]
        weights = [np.random.default_rng(seed).normal(size=shape).astype(np.float32) for shape in shapes]
        state = TrainingState(epoch=seed + 1, step=step, seed=1)
        checkpoints.save(checkpoints.step_folder(paths.checkpoints, step), Checkpoint(state, weights, weights[:0], ()))
    restored_model(weights, model=takeoff.train.model, fitted=fitted, statistics=paths.statistics)[0].save(paths.model)
    origin = dict.fromkeys(("run_name", "mlflow_experiment", "ray_job_id", "git_commit", "owner"), "x")
    counts = dict.fromkeys(("num_workers", "epochs", "best_epoch"), 1) | IDENTITY
    digests = dict.fromkeys(("weights_digest", "model_sha256", "history_sha256"), "0" * 64)
    run = RunFile(pipeline="takeoff", mlflow_run_id=None, data_digest="same", **origin, **counts, **digests)
    write_artifact(paths.run, run)
    return paths


def test_a_checkpoint_predicts_as_the_model_that_was_saved_then(paths, takeoff, capsys, tmp_path):
    features = {name: takeoff.ingest.features[name] for name in ("speed", "weight")}
    rows = pl.read_parquet(paths.examples / "*.parquet").select(*features)
    models = [checkpoint_model(takeoff, paths, read_checkpoint(paths, str(step))) for step in STEPS]
    first, second = (outputs_of(model, rows, features=features) for model in models)
    np.testing.assert_allclose(second, outputs_of(load_model(paths.model), rows, features=features), rtol=1e-6)
    assert not np.allclose(first, second)

    rows.write_csv(tmp_path / "rows.csv")
    folder = str(checkpoints.step_folder(paths.checkpoints, STEPS[0]))
    files = {"input_file": tmp_path / "rows.csv", "output_file": tmp_path / "out.csv"}
    write_predictions(takeoff, paths, **files, alias="champion", checkpoint=folder)
    np.testing.assert_allclose(pl.read_csv(tmp_path / "out.csv")["prediction"], first[:, 0], rtol=1e-5)


def test_its_metrics_are_printed_and_nothing_is_written(paths, takeoff, capsys):
    before = set(paths.root.rglob("*"))
    for step in STEPS:
        evaluate_checkpoint(takeoff, paths, named=str(step))
        shown = json.loads(capsys.readouterr().out)
        assert (shown["step"], shown["split"], shown["examples"]) == (step, "test", 4)
        assert shown["root_mean_squared_error"] > 0
    assert set(paths.root.rglob("*")) == before


def test_what_is_not_there_damaged_or_of_something_else_is_said(paths, takeoff, tmp_path):
    with pytest.raises(
        ParamsError, match=r"--checkpoint 5: expected a checkpoint's folder or a step .*steps there: 4, 8"
    ):
        read_checkpoint(paths, "5")
    with pytest.raises(DataError, match="no whole checkpoint in"):
        read_checkpoint(paths, str(tmp_path))
    with pytest.raises(DataError, match=r"expected the weights of train\.model, of shapes \[\(2, 8\)"):
        checkpoint_model(with_units(takeoff, 8), paths, read_checkpoint(paths, "4"))
    write_manifest(paths, digest="another")
    with pytest.raises(DataError, match=r"was trained on other data than is in .*`headrace run takeoff`"):
        read_checkpoint(paths, "4")
