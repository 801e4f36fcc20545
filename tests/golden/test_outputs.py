"""A result's identity counts versions of numerics, not bytes of code: these outputs show when one must be raised."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from headrace.components.evaluation.gate import better, within
from headrace.components.evaluation.paired import difference
from headrace.components.evaluation.settings import Compare, Threshold
from headrace.components.examples.shards import scan
from headrace.components.examples.splits import SPLITS
from headrace.components.schema.labels import CategoryLabel
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.variants import task_of
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.ray_train.pipeline_worker import _save_model
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.ray_train.worker_data import remove_columns, split_columns, validation_columns
from headrace.pipelines.stages.evaluate import outcome_of
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

Check = Callable[[str, str, Any], None]
TRAIN = {"optimizer": {"kind": "adam", "learning_rate": 0.01}, "global_batch_size": 16, "epochs": 2, "seed": 3}


def table(folder: Path) -> dict[str, Any]:
    """Numbers with gaps and categories, and a class that follows from a number."""
    lines = ["key,height,color,count,kind"]
    for row in range(120):
        value = row * 37 % 101
        height, color = "" if row % 17 == 5 else value / 8, ("red", "green", "blue", "")[row % 4]
        lines.append(f"{row},{height},{color},{row % 7},{'big' if value > 50 else 'small'}")
    file = folder / "rows.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pinned = {"url": str(file), "name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    layers = [{"kind": "dense", "units": 8, "activation": "relu"}, {"kind": "dropout", "rate": 0.3}]
    return {
        "ingest": {
            "source": {"kind": "delimited", "dataset": "golden", "parts": [{"files": [pinned]}]},
            "key": ["key"],
            "features": {
                "height": {"type": "number", "nullable": True},
                "color": {"type": "category", "nullable": True},
                "count": {"type": "number"},
            },
            "label": {"name": "kind", "type": "category", "classes": ["small", "big"]},
        },
        "normalize": {
            "transforms": {
                "height": [{"kind": "impute", "strategy": "median", "indicator": True}, {"kind": "standardize"}],
                "color": [{"kind": "impute", "strategy": "most_frequent"}, {"kind": "one_hot"}],
                "count": [{"kind": "min_max"}, {"kind": "polynomial", "degree": 3}],
            }
        },
        "train": {**TRAIN, "model": {"layers": layers}},
    }


def images(folder: Path) -> dict[str, Any]:
    """Gray images of two classes, in folders."""
    for row in range(40):
        pixels = np.add.outer(np.arange(6) * (row + 1), np.arange(6) * (row % 2) * 30).astype(np.uint8)
        file = folder / "pictures" / ("stripes" if row % 2 else "ramps") / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    layers = [{"kind": "conv2d", "filters": 4, "kernel_size": 3}, {"kind": "batch_normalization"}, {"kind": "flatten"}]
    part = {"files": {"root": str(folder / "pictures"), "pattern": "*/*.png"}}
    return {
        "ingest": {
            "source": {"kind": "images", "dataset": "golden", "parts": [part]},
            "features": {"picture": {"type": "image", "height": 6, "width": 6, "channels": 1}},
            "label": {"name": "kind", "type": "category", "classes": ["ramps", "stripes"]},
        },
        "normalize": {"transforms": {"picture": [{"kind": "scale_pixels"}]}},
        # Not Adam: the gradient of a bias before a batch normalization is 0 but for rounding, which Adam scales up.
        "train": {
            **TRAIN,
            "optimizer": {"kind": "sgd", "learning_rate": 0.1},
            "model": {"layers": layers, "augment": {"shift": 0.1}},
        },
    }


def number(folder: Path) -> dict[str, Any]:
    """A number that follows from another; without a key, ids are made of the content."""
    rows = [{"x": float(row), "y": row * 0.5 + row % 3} for row in range(60)]
    return {
        "ingest": {
            "source": {"kind": "inline", "rows": rows},
            "features": {"x": {"type": "number"}},
            "label": {"name": "y", "type": "number"},
        },
        "normalize": {"transforms": {"x": [{"kind": "standardize"}]}, "label": {"kind": "standardize"}},
        "train": {**TRAIN, "model": {"layers": [{"kind": "dense", "units": 1}]}, "window_examples": 32},
    }


def pipeline_of(sections: dict[str, Any]) -> Pipeline:
    settings = {"num_workers": 1, "threads_per_worker": 1, **sections["train"]}
    return Pipeline.model_validate(
        {
            "name": "golden",
            "description": "",
            **sections,
            "split": {"seed": 1, "validation_fraction": 0.2, "test_fraction": 0.2},
            "train": settings,
            "evaluate": {},
            "register": {"thresholds": {}, "compare": {"metric": "loss"}},
        }
    )


@pytest.mark.parametrize("made", [table, images, number])
def test_what_stages_compute_is_what_their_version_computes(tmp_path, check: Check, made):
    pipeline, paths, case = pipeline_of(made(tmp_path)), PipelinePaths(tmp_path, "golden"), made.__name__
    ingest(pipeline, paths)
    check("ingest", case, columns(scan(paths.examples).collect()))
    normalize(pipeline, paths)
    check("normalize", case, columns(scan(paths.normalized).collect()))
    split(pipeline, paths)
    ids = {name: scan(paths.splits / name).select("example_id").collect() for name in SPLITS.categories}
    check("split", case, {name: found["example_id"].cast(pl.String).to_list() for name, found in ids.items()})
    job = TrainJob(
        run_name="golden",
        folder=tmp_path / "job",
        splits=paths.splits,
        statistics=paths.statistics,
        train=pipeline.train,
    )
    job.folder.mkdir()
    final, model = trained(job)
    check("train", case, described(final))
    outcome = outcome_of(
        scan(paths.examples).sort("example_id").head(20).collect(),
        load_model(model),
        pipeline,
        paths,
    )
    check("evaluate", case, {name: float(value) for name, value in sorted(outcome.metrics.items())})


def columns(table: pl.DataFrame) -> dict[str, Any]:
    """Values by column, in the order of the rows' ids."""
    rows = table.sort("example_id").with_columns(pl.col("example_id").cast(pl.String))
    return {column.name: [_plain(value) for value in column.to_list()] for column in rows}


def _plain(value: Any) -> Any:
    """A value as JSON has it; of an image or a vector, its sum, plain and weighted by place."""
    if isinstance(value, list):
        numbers = np.asarray(value, dtype=np.float64).ravel()
        return [float(numbers.sum()), float((numbers * np.arange(1, len(numbers) + 1)).sum())]
    return value


def trained(job: TrainJob) -> tuple[Checkpoint, Path]:
    """What one worker makes of the splits, and the saved model."""
    fitted = FittedTable.model_validate_json(job.statistics.read_text(encoding="utf-8"))
    final = train_pipeline(
        split_columns(job, "train", fitted=fitted),
        validation_columns(job, fitted=fitted),
        label=fitted.label,
        training=job.train,
        worker=Worker(0, 1),
        folder=job.checkpoints,
        observer=Observer(),
    )
    remove_columns(job)
    model = job.folder / "model.keras"
    _save_model(model, job, fitted, final)
    return final, model


def described(final: Checkpoint) -> dict[str, Any]:
    """Metrics of every epoch, and of each array of the best weights its sum and that of its absolute values."""
    history = [{name: value for name, value in one.items() if name != "seconds"} for one in final.state.history]
    return {"history": history, "weights": [[float(one.sum()), float(np.abs(one).sum())] for one in final.best_weights]}


def test_the_gate_decides_as_its_version_decides(check: Check):
    bounds, task = {"accuracy": Threshold(minimum=0.8)}, task_of(CategoryLabel(name="side", classes=("0", "1")))
    decisions: list[Any] = [
        [str(value), all(one.passed for one in within({"accuracy": value}, bounds))]
        for value in (0.79, 0.8, 0.81, float("nan"))
    ]
    place = np.arange(300)
    champion = outcomes(place, place % 5 > 0)
    for more in (0, 3, 6, 12):
        candidate = outcomes(place, (place % 5 > 0) | (place < 5 * more))
        for metric in ("accuracy", "loss"):
            for unsure in ("keep", "newer"):
                found = difference(task, candidate, champion, metric, confidence=0.95)
                check_ = better(Compare(metric=metric, when_unsure=unsure), found)
                decisions.append([more, metric, unsure, check_.passed, check_.reason])
    check("register", "gate", decisions)


def outcomes(place: np.ndarray, is_right: np.ndarray) -> pl.DataFrame:
    """Outcomes of a model of two classes that is right where `is_right` says so."""
    sides = {True: "1", False: "0"}
    predicted = [sides[bool(right)] for right in is_right]
    loss = np.where(is_right, 0.1 + place % 7 / 50, 1 + place % 3 / 4)
    return pl.DataFrame({"example_id": place, "target": ["1"] * len(place), "prediction": predicted, "loss": loss})


def test_golden_outputs_are_of_todays_versions():
    from headrace.components.numerics import NUMERICS

    kept = json.loads(Path(__file__).with_name("outputs.json").read_text(encoding="utf-8"))
    assert {name for name, one in kept.items() if one["version"] != NUMERICS[name.split("/")[0]]} == set()
    assert {name.split("/")[0] for name in kept} == set(NUMERICS)
