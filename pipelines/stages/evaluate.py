"""Evaluate: metrics, figures and one report page on the test split or, where nothing is held out, the training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import structlog
from matplotlib.figure import Figure

from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.drift import Drift, VersionProfile
from headrace.components.evaluation.gate import RAW
from headrace.components.evaluation.paired import intervals
from headrace.components.evaluation.report import Report, render
from headrace.components.evaluation.report_parts.all_parts import parts_of
from headrace.components.evaluation.report_parts.baselines import Baselines
from headrace.components.evaluation.report_parts.curves import curves
from headrace.components.evaluation.report_parts.part_figures import figures_of
from headrace.components.evaluation.report_parts.subject import CONFIDENCE, Subject
from headrace.components.evaluation.worst_examples import WorstExample, drawn_examples, worst_examples
from headrace.components.examples.held_out import measured_examples
from headrace.components.examples.identity import ids_digest
from headrace.components.examples.shards import scan
from headrace.components.files.atomic import replace_file, replace_folder
from headrace.components.files.tables import read_csv
from headrace.components.numerics import NUMERICS
from headrace.components.plots import figures
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.serving_model.prediction_rows import rows_of
from headrace.components.serving_model.saved_model import load_model, predict
from headrace.components.statistics.profile import profile
from headrace.components.tasks.task import Measurement, Mistake, Outcome
from headrace.components.tasks.variants import task_of
from headrace.components.training.generated_samples import kept_samples
from headrace.pipelines.artifacts.artifact import file_digest, write_artifact
from headrace.pipelines.artifacts.dvc_view import write_dvc_view
from headrace.pipelines.artifacts.metrics_record import MetricsFile, named_with_intervals
from headrace.pipelines.artifacts.outcomes_table import OutcomesHeader, write_outcomes
from headrace.pipelines.artifacts.run_record import RunFile, bound_run, require_same_data
from headrace.pipelines.artifacts.split_manifest import SplitManifest, read_manifest
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.stage_inputs import require_inputs
from headrace.pipelines.project.trusted_code import code_of_project
from headrace.pipelines.tracking.pages import pages_of

log = structlog.get_logger()

NOTHING_HELD_OUT = "training rows: nothing was held out"


def evaluate(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write metrics, outcomes, plots and the report, and add them to the MLflow run that the model comes from.

    outcomes.parquet, the predictions of all measured rows, stays in DVC.
    """
    require_inputs(paths, "evaluate")
    run = bound_run(paths)
    require_same_data(paths, run)
    manifest = read_manifest(paths)
    examples, measured_on = measured(pipeline, paths), pipeline.split.measured_on
    model = load_model(paths.model, may_run=code_of_project(paths.root))
    measurement = measurement_of(examples, model, pipeline, paths)
    outcome = task_of(pipeline.ingest.label).outcome(measurement)
    outcome = replace(outcome, metrics=outcome.metrics | answers(model, pipeline))
    rows = outcome_table(examples, outcome.rows, pipeline)
    subject = Subject(pipeline.ingest.label, measurement, rows, pipeline.evaluate)
    report = _report(pipeline, paths, subject, outcome, run=run, manifest=manifest)
    _write(paths, report, rows, run=run, digest=manifest.splits[measured_on].digest)
    prefix = "test" if measured_on == "test" else "training_rows"
    logged = named_with_intervals(prefix, outcome.metrics, _ends(report.intervals))
    beside = {
        name: value for part in report.made if isinstance(part, Baselines) for name, value in part.logged().items()
    }
    _add_to_mlflow(paths, run, logged | beside | (report.drift.metrics() if report.drift else {}))
    log.info("evaluated", pipeline=pipeline.name, examples=examples.height, **_rounded(outcome.metrics))


def _report(
    pipeline: Pipeline,
    paths: PipelinePaths,
    subject: Subject,
    outcome: Outcome,
    *,
    run: RunFile,
    manifest: SplitManifest,
) -> Report:
    """All parts of the page."""
    examples, task, history = subject.measurement.rows, subject.task, read_csv(paths.history)
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    shown = {} if task.generates else features  # a text is its own label
    lines = curves(subject) if subject.has_outcomes else []
    made = parts_of(subject, lines, settings=run.identity.get("train", {}))
    return Report(
        title=pipeline.name,
        description=pipeline.description,
        label=pipeline.ingest.label,
        features=list(shown),
        outcome=outcome,
        facts=_facts(run, manifest, history),
        splits={name: summary.examples for name, summary in manifest.splits.items()},
        profiles=profile(scan(paths.examples), features={**pipeline.ingest.features, **pipeline.ingest.label.columns}),
        figures={
            "learning_curves": figures.learning_curves(history, best_epoch=run.best_epoch),
            **outcome.figures,
            **figures_of(lines, made, unit=task.unit),
        },
        worst=worst_examples(examples, outcome.worst, features=shown),
        drawn=drawn_examples(
            examples, count=pipeline.evaluate.random_examples, label=_named_by(pipeline), features=features
        ),
        drift=_drift(paths),
        measured_on=pipeline.split.measured_on,
        intervals=_intervals(subject.outcomes, pipeline),
        made=made,
        curves=lines,
        links=pages_of(paths.root, run),
        history=history,
    )


def _named_by(pipeline: Pipeline) -> tuple[str, ...]:
    """The columns that say what an example is: the label's, or what a judge of generated images learns."""
    judge = pipeline.evaluate.judge
    return (judge.by,) if judge else tuple(pipeline.ingest.label.columns)


def _drift(paths: PipelinePaths) -> Drift | None:
    """The drift that ingest found; none of a first version."""
    if not paths.profile.is_file():
        return None
    return VersionProfile.model_validate_json(paths.profile.read_text(encoding="utf-8")).drift


def measured(pipeline: Pipeline, paths: PipelinePaths) -> pl.DataFrame:
    """The examples on which a model is measured, as they were ingested."""
    rows = scan(paths.splits / pipeline.split.measured_on)
    return measured_examples(scan(paths.examples), rows, split=pipeline.split)


def outcome_of(examples: pl.DataFrame, model: Any, pipeline: Pipeline, paths: PipelinePaths) -> Outcome:
    """What the task makes of a model and the examples that it is measured on."""
    return task_of(pipeline.ingest.label).outcome(measurement_of(examples, model, pipeline, paths))


def measurement_of(examples: pl.DataFrame, model: Any, pipeline: Pipeline, paths: PipelinePaths) -> Measurement:
    """A model, and the examples that it is measured on."""
    classes = task_of(pipeline.ingest.label).classes
    summaries = read_manifest(paths).splits if classes else {}
    return Measurement(
        model=model,
        rows=examples,
        features=pipeline.ingest.features,
        examples=scan(paths.examples),
        rows_of_split=lambda name: scan(paths.splits / name),
        split=pipeline.split,
        judge=pipeline.evaluate.judge,
        worst_examples=pipeline.evaluate.worst_examples,
        class_counts={
            name: [(summary.classes or {}).get(str(index), 0) for index in range(len(classes))]
            for name, summary in summaries.items()
        },
        samples=kept_samples(paths.tensorboard),
    )


def outcome_table(examples: pl.DataFrame, rows: pl.DataFrame | None, pipeline: Pipeline) -> pl.DataFrame:
    """Outcomes with the ids of their examples, their groups, and as `raw.<name>` the categories to slice by.

    Images that are made of noise are no outcomes of rows: then the rows have ids and categories alone.
    """
    categories = list(CategoryFeature.among(pipeline.ingest.features))
    ids = examples.select("example_id", *(name for name in ("group_id",) if name in examples.columns))
    raw = examples.select(pl.col(name).cast(pl.String).alias(f"{RAW}{name}") for name in categories)
    return pl.concat([ids, *([] if rows is None else [rows]), raw], how="horizontal")


def _intervals(rows: pl.DataFrame, pipeline: Pipeline) -> dict[str, Interval]:
    """Intervals of the metrics. None of training rows: they are no sample of what the model will see."""
    if pipeline.split.held_out == "none":
        return {}
    return intervals(task_of(pipeline.ingest.label), rows, confidence=CONFIDENCE)


def _ends(sure: Mapping[str, Interval]) -> dict[str, tuple[float, float]]:
    return {name: (one.low, one.high) for name, one in sure.items()}


def answers(model: Any, pipeline: Pipeline) -> dict[str, float]:
    """The model's prediction for each of `evaluate.points`, by its name."""
    points = pipeline.evaluate.points
    if not points:
        return {}
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    rows = rows_of(points.values(), features, warn=log.warning)
    return dict(zip(points, predict(model, rows, features=features)[:, 0].astype(float).tolist(), strict=True))


def _facts(run: RunFile, manifest: SplitManifest, history: pl.DataFrame) -> dict[str, str]:
    """The model's provenance, in words for a reader of the report."""
    settings = run.identity.get("train", {})
    groups = ", then ".join(f"{one['num_workers']}, threads of each: {one['threads_per_worker']}" for one in run.groups)
    return {
        "MLflow run": str(run.mlflow_run_id),
        "MLflow experiment": run.mlflow_experiment,
        "Weights digest": run.weights_digest[:16],
        "Data digest": run.data_digest[:16],
        **_measured_on(manifest),
        "Git commit": run.git_commit[:12],
        "Ray job": run.ray_job_id,
        "Trained by": run.owner,
        "Trained": f"{run.started_at:%Y-%m-%d %H:%M} to {run.trained_at:%Y-%m-%d %H:%M} UTC",
        "Epochs": f"{run.epochs} (best: {run.best_epoch})",
        "Time in epochs": f"{history['seconds'].sum():,.1f} s",
        "Workers": groups or str(run.num_workers),
        "Device": str(run.identity.get("device", "")),
        "Seed": str(settings.get("seed", 0)) if settings else "",
        "Evaluation version": str(NUMERICS["evaluate"]),
    }


def _measured_on(manifest: SplitManifest) -> dict[str, str]:
    if manifest.splits["test"].examples:
        return {"Test split digest": manifest.splits["test"].digest[:16]}
    return {"Measured on": NOTHING_HELD_OUT, "Training rows digest": manifest.splits["train"].digest[:16]}


def _write(paths: PipelinePaths, report: Report, rows: pl.DataFrame, *, run: RunFile, digest: str) -> None:
    origin: dict[str, Any] = {
        "weights_digest": run.weights_digest,
        "model_sha256": run.model_sha256,
        "data_digest": digest,
        "ids_digest": ids_digest(rows["example_id"]),
        "evaluation_version": NUMERICS["evaluate"],
    }
    content = MetricsFile(
        **origin,
        outcomes_sha256=write_outcomes(paths, rows, OutcomesHeader(pipeline=paths.pipeline, **origin)),
        examples=report.splits[report.measured_on],
        measured_on=NOTHING_HELD_OUT if report.measured_on == "train" else None,
        intervals=_ends(report.intervals),
        **report.outcome.metrics,
    )
    write_artifact(paths.metrics, content)
    with replace_folder(paths.plots) as folder:
        for name, figure in {**report.figures, **_worst_pictures(report.worst)}.items():
            figures.write_png(figure, folder / f"{name}.png")
        for curve in report.curves:
            curve.points.write_csv(folder / f"{curve.name}.csv")
    with replace_file(paths.report) as file:
        file.write_text(render(report), encoding="utf-8")
    write_dvc_view(paths)


def _worst_pictures(worst: Sequence[WorstExample]) -> dict[str, Figure]:
    pictures = [one.picture for one in worst if one.picture is not None]
    captions = [_caption(one.mistake) for one in worst]
    return {"worst_examples": figures.worst_pictures(pictures, captions)} if pictures else {}


def _caption(mistake: Mistake) -> str:
    return f"{mistake.predicted}, not {mistake.true}" if mistake.wrong else f"{mistake.predicted}, {mistake.detail}"


def _add_to_mlflow(paths: PipelinePaths, run: RunFile, metrics: Mapping[str, float]) -> None:
    # Imported last: MLflow takes seconds, and all before may fail.
    from headrace.pipelines.tracking.mlflow_runs import add_to_run

    add_to_run(
        paths.root,
        str(run.mlflow_run_id),
        metrics=metrics,
        artifacts=[paths.metrics, paths.plots, paths.report],
        artifact_path="evaluation",
        tags={
            "headrace.weights_digest": run.weights_digest,
            "headrace.evaluation_version": str(NUMERICS["evaluate"]),
            "headrace.metrics_sha256": file_digest(paths.metrics),
        },
    )


def _rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}
