"""Evaluate: metrics, figures and one report page on the test split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import structlog
from matplotlib.figure import Figure

from components.errors import DataError
from components.evaluation import figures
from components.evaluation.outcome import Mistake, Outcome, category_outcome, number_outcome
from components.evaluation.profile import profile
from components.evaluation.report import Report, render
from components.evaluation.worst import WorstExample, worst_examples
from components.examples.held_out import held_out_examples
from components.examples.settings import CategoryFeature, CategoryLabel, Feature, Label, NumberFeature
from components.examples.shards import scan
from components.models.saved import load_model, predict
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths
from pipelines.storage.atomic import replace_file, replace_folder

log = structlog.get_logger()


def evaluate(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write metrics.json, plots and report.html, and add them to the MLflow run that the model comes from."""
    manifest, run = _read_json(paths.manifest), _read_json(paths.run)
    examples = held_out_examples(scan(paths.examples), scan(paths.splits / "test"))
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    outputs = predict(load_model(paths.model), examples, features=features)
    outcome = _outcome(examples, outputs, pipeline)
    worst = worst_examples(examples, outcome.worst, features=features)
    report = Report(
        title=pipeline.name,
        description=pipeline.description,
        label=pipeline.ingest.label,
        features=list(features),
        outcome=outcome,
        facts=_facts(run, manifest),
        splits={name: summary["examples"] for name, summary in manifest["splits"].items()},
        profiles=profile(scan(paths.examples), features=_columns(pipeline.ingest.features, pipeline.ingest.label)),
        figures=_figures(paths, pipeline, manifest, run) | outcome.figures,
        worst=worst,
    )
    _write(paths, report, test_digest=manifest["splits"]["test"]["digest"])
    _add_to_mlflow(paths, run["mlflow_run_id"], outcome.metrics)
    log.info("evaluated", pipeline=pipeline.name, examples=examples.height, **_rounded(outcome.metrics))


def _outcome(examples: pl.DataFrame, outputs: np.ndarray, pipeline: Pipeline) -> Outcome:
    label, worst = pipeline.ingest.label, pipeline.evaluate.worst_examples
    if isinstance(label, CategoryLabel):
        indices = {name: index for index, name in enumerate(label.classes)}
        labels = examples[label.name].replace_strict(indices, return_dtype=pl.Int64).to_numpy()
        return category_outcome(labels, outputs, label=label, worst_examples=worst)
    predictions = outputs[:, 0].astype(np.float64)
    return number_outcome(examples[label.name].to_numpy(), predictions, label=label, worst_examples=worst)


def _figures(
    paths: PipelinePaths, pipeline: Pipeline, manifest: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, Figure]:
    """What is drawn of the run and the data, whatever the model says."""
    history = pl.read_csv(paths.history)
    drawn = {"learning_curves": figures.learning_curves(history, best_epoch=run["best_epoch"])}
    if isinstance(label := pipeline.ingest.label, CategoryLabel):
        counts = {
            name: [summary["classes"].get(str(index), 0) for index in range(len(label.classes))]
            for name, summary in manifest["splits"].items()
        }
        drawn["class_balance"] = figures.class_balance(counts, classes=label.classes)
    return drawn


def _facts(run: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, str]:
    """Where the model comes from, in a reader's words."""
    return {
        "MLflow run": run["mlflow_run_id"],
        "MLflow experiment": run["mlflow_experiment"],
        "Data digest": run["data_digest"][:16],
        "Test split digest": manifest["splits"]["test"]["digest"][:16],
        "Git commit": run["git_commit"][:12],
        "Ray job": run["ray_job_id"],
        "Workers": str(run["num_workers"]),
        "Epochs": f"{run['epochs']} (best: {run['best_epoch']})",
    }


def _columns(features: Mapping[str, Feature], label: Label) -> dict[str, Feature]:
    """The features, and the label as if it were one."""
    described: Feature = CategoryFeature() if isinstance(label, CategoryLabel) else NumberFeature()
    return {**features, label.name: described}


def _write(paths: PipelinePaths, report: Report, *, test_digest: str) -> None:
    content = {**report.outcome.metrics, "examples": report.splits["test"], "data_digest": test_digest}
    with replace_file(paths.metrics) as file:
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with replace_folder(paths.plots) as folder:
        for name, figure in {**report.figures, **_worst_pictures(report.worst)}.items():
            figures.write_png(figure, folder / f"{name}.png")
    with replace_file(paths.report) as file:
        file.write_text(render(report), encoding="utf-8")


def _worst_pictures(worst: Sequence[WorstExample]) -> dict[str, Figure]:
    pictures = [one.picture for one in worst if one.picture is not None]
    captions = [_caption(one.mistake) for one in worst]
    return {"worst_examples": figures.worst_pictures(pictures, captions)} if pictures else {}


def _caption(mistake: Mistake) -> str:
    return f"{mistake.predicted}, not {mistake.true}" if mistake.wrong else f"{mistake.predicted}, {mistake.detail}"


def _add_to_mlflow(paths: PipelinePaths, run_id: str, metrics: Mapping[str, float]) -> None:
    from pipelines.tracking.runs import add_to_run  # seconds: after everything that may fail

    add_to_run(
        paths.root,
        run_id,
        metrics={f"test_{name}": value for name, value in metrics.items()},
        artifacts=[paths.metrics, paths.plots, paths.report],
        artifact_path="evaluation",
    )


def _rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"can't read {path}: {error.strerror}; `headrace split` and `headrace train` make it"
        ) from error
