"""Embeddings beside a number, from Parquet to predictions, exports and a served version, with layers in params.yaml."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from pydantic import ValidationError

from headrace.components.errors import DataError
from headrace.components.examples.shards import scan
from headrace.components.models.named_inputs import groups_of
from headrace.components.models.settings import OwnModel
from headrace.components.serving_model.export import export_saved_model
from headrace.components.serving_model.prediction_files import joined
from headrace.components.serving_model.saved_model import load_model
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.commands.inference.prediction_input import open_input
from headrace.pipelines.commands.inference.predictions import predicted
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.ray_train.pipeline_worker import _save_model
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker_data import split_columns, validation_columns
from headrace.pipelines.stages.evaluate import outcome_of
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split
from headrace.pipelines.tracking.packaging import package

DENSE = [{"kind": "dense", "units": 8, "activation": "relu"}]


def rows(count: int, *, seed: int = 1, width: int = 4) -> pl.DataFrame:
    """The class is the sign of the second place of the embedding."""
    values = np.random.default_rng(seed).normal([100, 0, 0, 5][:width], [10, 1, 1, 0][:width], (count, width))
    kinds = ["good" if one > 0 else "bad" for one in values[:, 1]]
    ages = [float(row % 7) for row in range(count)]
    return pl.DataFrame(
        {"key": range(count), "embedding": values.astype(np.float32).tolist(), "age": ages, "kind": kinds}
    )


def pipeline_of(folder: Path, model: dict[str, Any] | None = None, **feature: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "vectors",
            "description": "",
            "ingest": {
                "source": {
                    "kind": "parquet",
                    "dataset": "rows",
                    "files": {"root": str(folder), "pattern": "rows.parquet"},
                },
                "key": ["key"],
                "features": {
                    "embedding": {"type": "vector", "length": 4, **feature},
                    "age": {"type": "number"},
                },
                "label": {"name": "kind", "type": "category", "classes": ["bad", "good"]},
            },
            "normalize": {
                "transforms": {"embedding": [{"kind": "standardize_elements"}], "age": [{"kind": "min_max"}]}
            },
            "split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.2},
            "evaluate": {},
            "register": {"thresholds": {}, "compare": {"metric": "loss"}},
            "train": {
                "model": model or {"inputs": {"embedding": DENSE, "features": []}, "layers": []},
                "optimizer": {"kind": "adam", "learning_rate": 0.03},
                "global_batch_size": 16,
                "epochs": 6,
                "num_workers": 1,
                "threads_per_worker": 1,
            },
        }
    )


def trained(pipeline: Pipeline, paths: PipelinePaths) -> Path:
    """The stages up to the model that is saved."""
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    folder = paths.root / "job"
    job = TrainJob(
        run_name="vectors", folder=folder, splits=paths.splits, statistics=paths.statistics, train=pipeline.train
    )
    folder.mkdir()
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    inputs = groups_of(pipeline.train.model, fitted)
    final = train_pipeline(
        split_columns(job, "train", fitted=fitted, inputs=inputs),
        validation_columns(job, fitted=fitted, inputs=inputs),
        label=fitted.label,
        inputs=inputs,
        training=pipeline.train,
        worker=Worker(0, 1),
        folder=job.checkpoints,
        observer=Observer(),
    )
    _save_model(folder / "model.keras", job, fitted, final)
    return folder / "model.keras"


def written(table: pl.DataFrame, folder: Path) -> list[Path]:
    """The rows in each format; in CSV, lists are text as JSON has them."""
    table.write_parquet(folder / "new.parquet")
    table.with_columns(pl.col("embedding").cast(pl.Array(pl.Float32, 4))).write_ipc(folder / "new.arrow")
    (folder / "new.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in table.iter_rows(named=True)))
    texts = pl.Series("embedding", [json.dumps(one) for one in table["embedding"].to_list()])
    table.with_columns(texts).write_csv(folder / "new.csv")
    return [folder / f"new.{suffix}" for suffix in ("parquet", "arrow", "jsonl", "csv")]


@pytest.mark.long
def test_a_vector_with_a_number_is_learned_evaluated_predicted_exported_and_served(tmp_path):
    import mlflow.pyfunc
    from mlflow.models import Model

    rows(150).write_parquet(tmp_path / "rows.parquet")
    pipeline, paths = pipeline_of(tmp_path), PipelinePaths(tmp_path, "vectors")
    file = trained(pipeline, paths)
    model, examples = load_model(file), scan(paths.examples).sort("example_id").collect()
    assert examples.schema["embedding"] == pl.Array(pl.Float32, 4)
    assert {name: tuple(one.shape) for name, one in model.input.items()} == {"embedding": (None, 4), "age": (None, 1)}
    assert outcome_of(examples, model, pipeline, paths).metrics["accuracy"] > 0.9

    new = rows(20, seed=2).drop("kind")
    inputs = (open_input(pipeline, one) for one in written(new, tmp_path))
    found = [joined(predicted(pipeline, one, model)).origin for one in inputs]
    assert all(one.equals(found[0]) for one in found)
    assert (found[0]["prediction"] == rows(20, seed=2)["kind"]).mean() > 0.9

    export_saved_model(model, tmp_path / "export")
    signature = tf.saved_model.load(str(tmp_path / "export")).signatures["serving_default"]
    probabilities = found[0].select("probability_bad", "probability_good").to_numpy()
    raw = {"embedding": np.float32(new["embedding"].to_list()), "age": np.float32(new["age"].to_list()).reshape(-1, 1)}
    np.testing.assert_allclose(signature(**raw)["output_0"], probabilities, rtol=1e-5, atol=1e-6)

    (folder := tmp_path / "package").mkdir()
    features = pipeline.ingest.features
    package(
        folder, model=Model(), model_file=file, features=features, label=pipeline.ingest.label, example=examples[:2]
    )
    served = mlflow.pyfunc.load_model(str(folder))
    table = new.select("embedding", "age").to_pandas()
    np.testing.assert_allclose(served.predict(table), probabilities, rtol=1e-5, atol=1e-6)
    short = table.assign(embedding=[one[:2] for one in table["embedding"]])
    with pytest.raises(Exception, match="reshape"):
        served.predict(short)


def test_all_formats_give_the_same_rows_to_predict(tmp_path):
    new = rows(20)
    first, *others = [joined(open_input(pipeline_of(tmp_path), one).blocks)[1] for one in written(new, tmp_path)]
    assert first["embedding"].to_list() == new["embedding"].to_list()
    assert all(one.equals(first) for one in others)


def test_rows_of_another_length_are_rejected_and_counted(tmp_path):
    table = rows(40).with_columns(
        pl.when(pl.col("key") == 3).then(pl.col("embedding").list.head(2)).otherwise("embedding").alias("embedding")
    )
    table.write_parquet(tmp_path / "rows.parquet")
    said = r"rows.parquet, row 4, column 'embedding': expected a list of 4 numbers, found \[\d+\.\d+, -?\d\.\d+\]"
    with pytest.raises(DataError, match=said):
        ingest(pipeline_of(tmp_path), PipelinePaths(tmp_path, "vectors"))
    with pytest.raises(DataError, match=said):
        joined(open_input(pipeline_of(tmp_path), tmp_path / "rows.parquet").blocks)


def test_a_column_of_other_values_is_named_before_rows_are_read(tmp_path):
    rows(5).with_columns(pl.col("embedding").list.eval(pl.element().cast(pl.String))).write_parquet(
        tmp_path / "rows.parquet"
    )
    with pytest.raises(DataError, match=r"column 'embedding': expected .*lists of numbers.*, found"):
        ingest(pipeline_of(tmp_path), PipelinePaths(tmp_path, "vectors"))


def test_it_may_stand_beside_numbers_and_is_an_input_of_its_own_in_a_model_of_a_file(tmp_path):
    rows(60).write_parquet(tmp_path / "rows.parquet")
    pipeline, paths = pipeline_of(tmp_path, {"layers": DENSE}), PipelinePaths(tmp_path, "vectors")
    assert tuple(load_model(trained(pipeline, paths)).input["embedding"].shape) == (None, 4)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    groups = groups_of(OwnModel(file="models/network.py"), fitted)
    assert groups is not None
    assert {name: one.shape for name, one in groups.items()} == {"embedding": (4,), "features": (1,)}


def test_it_can_not_identify_a_row(tmp_path):
    pipeline = pipeline_of(tmp_path).model_dump(mode="json", by_alias=True)
    pipeline["ingest"]["key"] = ["embedding"]
    with pytest.raises(ValidationError, match="key: 'embedding' has lists of numbers"):
        Pipeline.model_validate(pipeline)
