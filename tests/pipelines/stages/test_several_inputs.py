"""Text with numbers, and an image with a table, from ingest to predictions and exports, with layers in params.yaml."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from PIL import Image
from pydantic import ValidationError

from headrace.components.errors import DataError
from headrace.components.examples.shards import scan
from headrace.components.models.named_inputs import groups_of
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

LABEL = {"name": "kind", "type": "category", "classes": ["bad", "good"]}
DENSE = [{"kind": "dense", "units": 8, "activation": "relu"}]


def pipeline_of(sections: dict[str, Any], model: dict[str, Any], **train: Any) -> Pipeline:
    training = {
        "optimizer": {"kind": "adam", "learning_rate": 0.03},
        "global_batch_size": 16,
        "epochs": 6,
        "num_workers": 1,
        "threads_per_worker": 1,
    }
    return Pipeline.model_validate(
        {
            "name": "several",
            "description": "",
            "split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.2},
            "evaluate": {},
            "register": {"thresholds": {}, "compare": {"metric": "loss"}},
            **sections,
            "train": {**training, "model": model, **train},
        }
    )


def reviews(folder: Path, *, weight: str = "1") -> dict[str, Any]:
    """A text and a number, both of which say the class, and a column of weights."""
    with (folder / "reviews.csv").open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["key", "review", "stars", "times", "kind"])
        for row in range(120):
            is_good = row * 37 % 101 > 50
            text = f"{'nice' if is_good else 'poor'} thing number {row % 9}"
            lines.writerow(
                [
                    row,
                    text,
                    4 + row % 2 if is_good else row % 3,
                    weight if row == 7 else row % 4,
                    ("bad", "good")[is_good],
                ]
            )
    return {
        "ingest": {
            "source": {"kind": "delimited", "dataset": "reviews", "files": {"root": str(folder), "pattern": "*.csv"}},
            "key": ["key"],
            "sample_weight": "times",
            "features": {"review": {"type": "text", "length": 5, "unit": "word"}, "stars": {"type": "number"}},
            "label": LABEL,
        },
        "normalize": {
            "transforms": {"review": [{"kind": "vocabulary", "size": 30}], "stars": [{"kind": "standardize"}]}
        },
    }


TEXT = [
    {"kind": "embedding", "units": 8},
    {"kind": "position_embedding"},
    {"kind": "residual", "layers": [{"kind": "layer_normalization"}, {"kind": "attention", "heads": 2}]},
    {"kind": "global_average_pooling1d"},
]
TEXT_AND_NUMBERS = {"inputs": {"review": TEXT, "features": []}, "layers": DENSE}


def photos(folder: Path) -> dict[str, Any]:
    """An image in a folder, and its numbers and class in a labels file."""
    (folder / "photos").mkdir()
    with (folder / "labels.csv").open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["file", "age", "place", "kind"])
        for row in range(90):
            is_good = row % 2
            pixels = np.full((6, 6), 200 if is_good else 30, np.uint8) + np.arange(6, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"{row}.png")
            lines.writerow(
                [f"{row}.png", row % 7 + 5 * is_good, ("north", "south")[row % 3 % 2], ("bad", "good")[is_good]]
            )
    labels = {"name": "labels.csv", "url": str(folder / "labels.csv")}
    part = {"files": {"root": str(folder / "photos"), "pattern": "*.png"}, "labels": labels}
    return {
        "ingest": {
            "source": {"kind": "images", "dataset": "photos", "parts": [part]},
            "features": {
                "photo": {"type": "image", "height": 6, "width": 6},
                "age": {"type": "number"},
                "place": {"type": "category"},
            },
            "label": LABEL,
        },
        "normalize": {
            "transforms": {
                "photo": [{"kind": "scale_pixels"}],
                "age": [{"kind": "standardize"}],
                "place": [{"kind": "one_hot"}],
            }
        },
    }


IMAGE = [{"kind": "conv2d", "filters": 4, "kernel_size": 3}, {"kind": "global_average_pooling2d"}]
IMAGE_AND_TABLE = {
    "inputs": {"photo": IMAGE, "table": {"features": ["place", "age"], "layers": DENSE}},
    "layers": [{"kind": "dense", "units": 8, "activation": "relu", "name": "joint"}],
    "augment": {"shift": 0.1},
}


def trained(pipeline: Pipeline, paths: PipelinePaths) -> Path:
    """The stages up to the model that is saved."""
    ingest(pipeline, paths)
    normalize(pipeline, paths)
    split(pipeline, paths)
    folder = paths.root / "job"
    job = TrainJob(
        run_name="several", folder=folder, splits=paths.splits, statistics=paths.statistics, train=pipeline.train
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


def assert_predicts(pipeline: Pipeline, paths: PipelinePaths, model: Any, file: Path, expected: list[str]) -> None:
    """Evaluation, predictions of a file, and the exported model agree on what is right."""
    examples = scan(paths.examples).sort("example_id").collect()
    outcome = outcome_of(examples, model, pipeline, paths)
    assert outcome.metrics["accuracy"] > 0.9
    predictions = joined(predicted(pipeline, open_input(pipeline, file), model)).origin
    assert predictions["prediction"].to_list() == expected
    export_saved_model(model, paths.root / "export")
    signature = tf.saved_model.load(str(paths.root / "export")).signatures["serving_default"]
    assert set(signature.structured_input_signature[1]) == set(pipeline.normalize.transforms)


def test_a_text_with_a_number_is_learned_evaluated_predicted_and_exported(tmp_path):
    pipeline, paths = pipeline_of(reviews(tmp_path), TEXT_AND_NUMBERS), PipelinePaths(tmp_path, "several")
    model = load_model(trained(pipeline, paths))
    weights = scan(paths.splits / "train").collect()["sample_weight"]
    assert set(weights) == {0.0, 1.0, 2.0, 3.0}
    assert "sample_weight" not in model.input
    rows = [{"review": "nice thing number 3", "stars": 5}, {"review": "poor thing", "stars": 0}]
    file = tmp_path / "new.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert_predicts(pipeline, paths, model, file, ["good", "bad"])


def test_an_image_with_a_table_is_learned_evaluated_predicted_and_exported(tmp_path):
    pipeline, paths = pipeline_of(photos(tmp_path), IMAGE_AND_TABLE), PipelinePaths(tmp_path, "several")
    model = load_model(trained(pipeline, paths))
    rows = [{"photo": [pixel] * 36, "age": age, "place": "north"} for pixel, age in ((205, 9), (30, 1))]
    file = tmp_path / "new.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert_predicts(pipeline, paths, model, file, ["good", "bad"])
    pl.DataFrame(rows).write_parquet(tmp_path / "new.parquet")
    assert joined(open_input(pipeline, tmp_path / "new.parquet").blocks)[1].equals(
        joined(open_input(pipeline, file).blocks)[1]
    )


@pytest.mark.parametrize("weight", ["-1", "many", "inf", "nan", "1e300"])
def test_a_weight_that_is_none_is_refused_by_its_row(tmp_path, weight):
    pipeline = pipeline_of(reviews(tmp_path, weight=weight), TEXT_AND_NUMBERS)
    said = rf"reviews.csv, row 8, column 'times': expected a finite number of at least 0, found '{weight}'"
    with pytest.raises(DataError, match=said):
        ingest(pipeline, PipelinePaths(tmp_path, "several"))


def test_ids_and_splits_do_not_depend_on_weights(tmp_path):
    ids = []
    for number, weight in enumerate(("1", "2")):
        (folder := tmp_path / str(number)).mkdir()
        sections = reviews(folder, weight=weight)
        del sections["ingest"]["key"]
        ingest(pipeline_of(sections, TEXT_AND_NUMBERS), PipelinePaths(folder, "several"))
        ids.append(scan(PipelinePaths(folder, "several").examples).collect()["example_id"].to_list())
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"layers": []}, r"an image or a text needs an input of its own; give train.model.inputs"),
        (
            TEXT_AND_NUMBERS | {"inputs": {"review": TEXT, "star": []}},
            r"train.model.inputs: no feature 'star'; did you mean 'stars'",
        ),
        (
            TEXT_AND_NUMBERS | {"inputs": {"review": TEXT, "features": [], "stars": []}},
            "all features are in other inputs",
        ),
        (TEXT_AND_NUMBERS | {"inputs": {"review": [], "features": []}}, r"inputs.review: the first layer over a text"),
        (
            TEXT_AND_NUMBERS | {"inputs": {"review": TEXT, "features": TEXT[:1]}},
            r"train.model.inputs.features.0 \(embedding\): takes the tokens of a text",
        ),
        (
            TEXT_AND_NUMBERS
            | {"inputs": {"a": {"features": ["review", "stars"]}, "b": {"features": ["stars"], "layers": []}}},
            "'stars' is there twice",
        ),
        (
            TEXT_AND_NUMBERS | {"layers": [{"kind": "conv1d", "filters": 2, "kernel_size": 2}]},
            r"train.model.layers.0 \(conv1d\): needs a sequence",
        ),
        (TEXT_AND_NUMBERS | {"augment": {"shift": 0.1}}, "train.model.augment: changes images, and no input is one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_any_work(tmp_path, model, message):
    with pytest.raises(ValidationError, match=message):
        pipeline_of(reviews(tmp_path), model)


def test_a_weight_is_no_feature(tmp_path):
    sections = reviews(tmp_path)
    sections["ingest"]["sample_weight"] = "stars"
    with pytest.raises(ValidationError, match="sample_weight: 'stars' is also a feature or the label"):
        pipeline_of(sections, TEXT_AND_NUMBERS)
