"""Each kind of label has its task, and a new one needs no change anywhere else."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import keras
import numpy as np
import polars as pl
import pytest

from headrace.components.schema.labels import Label, NumberLabel
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.metric_names import LAST, lower_is_better, with_validation
from headrace.components.tasks.regression import OneNumber
from headrace.components.tasks.task import Measurement, Sections
from headrace.components.tasks.variants import TASKS, task_of
from headrace.components.training.feeding.split_arrays import Columns, feature_array, label_array
from headrace.components.training.loop import Worker
from headrace.components.training.observer import Observer
from headrace.components.training.pipeline_trainee import train_pipeline
from headrace.components.training.restored_model import restored_model
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fit import fit
from headrace.pipelines.params import Pipeline

HEAVY = {"numpy", "polars", "pyarrow", "keras", "tensorflow", "matplotlib"}


class CountLabel(NumberLabel):
    """How often something happens."""


class LogRate(keras.losses.Loss):
    """Negative logarithm of the likelihood under a Poisson distribution, but for a constant."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.exp(y_pred) - keras.ops.cast(y_true, y_pred.dtype)[:, None] * y_pred, axis=-1)


@dataclass(frozen=True)
class Counting(OneNumber):
    """Poisson regression: the model gives the logarithm of a rate."""

    label: CountLabel

    epoch_metric_names = with_validation("loss")

    def check(self, sections: Sections) -> None:
        super().check(sections)
        if sections.label_transform is not None:
            raise ValueError("normalize.label: a count is not transformed; leave it out")

    def loss(self, *, label_smoothing: float) -> keras.losses.Loss:
        return LogRate()

    def epoch_metrics(self) -> list[keras.metrics.Metric]:
        return []

    def saved_model(
        self, core: keras.Model, fitted: Any, *, inputs: Any = None, backbone_weights: bytes | None = None
    ) -> keras.Model:
        from headrace.components.serving_model.raw_model import raw_model

        return raw_model(core, fitted, inputs=inputs, in_label_unit=keras.ops.exp, backbone_weights=backbone_weights)


@pytest.fixture
def pipeline(monkeypatch) -> Pipeline:
    monkeypatch.setitem(TASKS, CountLabel, Counting)
    return Pipeline.model_validate(sections())


def sections(**normalize: Any) -> Mapping[str, Any]:
    rows = [{"x": float(row), "y": float(row)} for row in range(3)]
    return {
        "name": "visits",
        "description": "",
        "ingest": {
            "source": {"kind": "inline", "rows": rows},
            "key": ["x"],
            "features": {"x": {"type": "number"}},
            "label": CountLabel(name="y", unit="visits"),
        },
        "normalize": {"transforms": {"x": [{"kind": "min_max"}]}, **normalize},
        "split": {"held_out": "none"},
        "train": {
            "model": {"layers": []},
            "optimizer": {"kind": "adam", "learning_rate": 0.1},
            "global_batch_size": 50,
            "epochs": 60,
            "best_by": "loss",
            "num_workers": 1,
        },
        "evaluate": {},
        "register": {"thresholds": {}, "compare": {"metric": "mean_absolute_error"}},
    }


def test_every_kind_of_label_has_a_task() -> None:
    union, *_ = get_args(Label)
    assert set(get_args(union)) == set(TASKS)


def test_tasks_are_known_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from headrace.components.tasks.variants import TASKS; import headrace.pipelines.params\n"
        f"print(*sorted({HEAVY} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("loss", True),
        ("validation_loss", True),
        ("generator_loss", True),
        ("validation_root_mean_squared_error", True),
        ("Weight.mean_absolute_error", True),
        ("perplexity", True),
        ("validation_perplexity", True),
        ("cross_entropy", True),
        ("accuracy", False),
        ("validation_accuracy", False),
        ("Weight.r2", False),
        ("judge_accuracy", False),
        ("classes_named", False),
        (LAST, False),
    ],
)
def test_a_metric_s_name_says_its_direction(metric, lower) -> None:
    assert lower_is_better(metric) is lower


def test_a_new_task_checks_its_sections(pipeline) -> None:
    assert isinstance(pipeline.ingest.label, CountLabel)
    with pytest.raises(ValueError, match=r"normalize\.label: a count is not transformed"):
        Pipeline.model_validate(sections(label={"kind": "standardize"}))
    with pytest.raises(ValueError, match=r"train\.best_by: no metric 'accuracy'"):
        Pipeline.model_validate({**sections(), "train": {**sections()["train"], "best_by": "accuracy"}})


def test_a_new_task_is_trained_measured_and_predicted(pipeline, tmp_path) -> None:
    draw = np.random.default_rng(0)
    x = draw.uniform(0, 1, 500)
    y = draw.poisson(np.exp(0.5 + 2 * x)).astype(np.float64)
    examples = pl.DataFrame({"example_id": np.arange(500, dtype=np.uint64), "x": x, "y": y})
    examples.write_parquet(tmp_path / "examples.parquet")
    label, task, features = pipeline.ingest.label, task_of(pipeline.ingest.label), pipeline.ingest.features
    fitted = fit(
        [tmp_path / "examples.parquet"],
        split=pipeline.split,
        features=features,
        transforms=pipeline.normalize.transforms,
        label=label,
    )
    table = apply(examples.lazy(), fitted, label=task.label_values(fitted)).collect()
    columns = Columns(feature_array(table, fitted=fitted), label_array(table, fitted=fitted))
    final = train_pipeline(
        columns,
        None,
        label=label,
        training=pipeline.train,
        worker=Worker(0, 1),
        folder=tmp_path / "checkpoints",
        observer=Observer(),
    )
    assert set(final.state.history[0]) == {"epoch", "loss", "seconds"}
    model, _ = restored_model(
        final.best_weights, model=pipeline.train.model, fitted=fitted, statistics=tmp_path / "statistics.json"
    )
    model.save(tmp_path / "model.keras")
    measurement = Measurement(
        model=load_model(tmp_path / "model.keras"),
        rows=examples,
        features=features,
        examples=examples.lazy(),
        rows_of_split=lambda name: examples.filter(name == "train").lazy(),
        split=pipeline.split,
        judge=None,
        worst_examples=2,
    )
    outcome = task.outcome(measurement)
    assert outcome.metrics == task.metrics(measurement)
    assert tuple(outcome.metrics) == task.metric_names
    assert outcome.figures.keys() == {"predicted_against_true", "residuals", "data_and_fit"}
    assert outcome.worst[0].detail.endswith("visits")
    expected = np.exp(0.5 + 2 * np.array([0.1, 0.9]))
    rows = pl.DataFrame({"x": [0.1, 0.9]})
    found = task.predictions(measurement.model, rows, {"x": features["x"]})
    np.testing.assert_allclose(found["prediction"].to_numpy(), expected, rtol=0.2)
    assert task.submission_columns == {"y": "prediction"}
