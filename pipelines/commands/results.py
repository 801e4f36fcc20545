"""`headrace results`: measure pipelines over several seeds or folds, and write what they reach to docs/results.md."""

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import typer

from headrace.components.files.atomic import replace_file
from headrace.components.numerics import NUMERICS
from headrace.pipelines.artifacts.metrics_record import read_metrics
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.commands.results_page import MEASURED_STAGES, Measured, Run, by_value, error_of, render
from headrace.pipelines.commands.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline, list_pipelines, load_pipeline, with_workers
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.edit_params import with_values
from headrace.pipelines.remote_training.handoff import git_state

_PACKAGES = ("headrace", "tensorflow", "keras", "ray")


def results(project: ProjectPaths, names: Sequence[str], *, workers: str | None, page_only: bool) -> None:
    """Measure the pipelines named, or all, and write docs/results.md with every pipeline that was ever measured.

    A pipeline is measured in a folder of its own below .headrace, from raw data on. The project's data, models, reports
    and MLflow runs stay as they are. Raises ParamsError for a name that is none before anything is measured.
    """
    pipelines = {name: load_pipeline(project.params, name) for name in list_pipelines(project.params)}
    chosen = [load_pipeline(project.params, name) for name in names or pipelines]
    for pipeline in () if page_only else chosen:
        measured = measure(pipeline, project, workers=workers)
        with replace_file(project.results / f"{pipeline.name}.json") as file:
            file.write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _write_page(project, pipelines)  # after each: the next one may take hours
        typer.echo(f"{pipeline.name}: {len(measured.runs)} runs, in docs/results/{pipeline.name}.json")
    _write_page(project, pipelines)


def measure(pipeline: Pipeline, project: ProjectPaths, *, workers: str | None) -> Measured:
    """Run every stage but register for each seed or fold; all runs' metrics, and what they were made with."""
    scaled = pipeline if workers is None else with_workers(pipeline, workers)
    # A root for each: MLflow keeps a store's file open, and could not write to another of the same path.
    paths = PipelinePaths(project.measuring / pipeline.name, pipeline.name)
    shutil.rmtree(project.measuring, ignore_errors=True)
    paths.root.mkdir(parents=True)
    try:
        runs = [_run(scaled, paths, values) for values in variations(pipeline)]
        if not pipeline.results.compare:
            _keep_picture(paths, project)
    finally:
        shutil.rmtree(project.measuring, ignore_errors=True)
    return Measured(
        pipeline=pipeline.name,
        settings_sha256=settings_digest(pipeline),
        **git_state(project.root)._asdict(),
        numerics={stage: NUMERICS[stage] for stage in MEASURED_STAGES},
        versions={name: version(name) for name in _PACKAGES},
        cores=os.cpu_count() or 1,
        workers=scaled.train.max_workers,
        runs=tuple(runs),
    )


def variations(pipeline: Pipeline) -> Iterator[dict[str, int | float | str]]:
    """Yield what each run has other than params.yaml, by place."""
    results = pipeline.results
    place, numbers = ("split.fold", range(results.folds)) if results.folds else ("train.seed", results.seeds)
    for compared in [{results.compare.place: value} for value in results.compare.values] if results.compare else [{}]:
        yield from ({place: number, **compared} for number in numbers)


def settings_digest(pipeline: Pipeline) -> str:
    """SHA-256 of the settings that decide a pipeline's metrics; a result with another digest is out of date."""
    parts = {"description", "schedule", "register_"}
    settings = pipeline.model_dump(mode="json", exclude_unset=True, exclude=parts)
    settings.get("results", {}).pop("reach", None)  # bounds change how metrics are read, not the metrics
    settings["train"].pop("num_workers", None)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _run(pipeline: Pipeline, paths: PipelinePaths, values: Mapping[str, int | float | str]) -> Run:
    import_tensorflow()
    from headrace.pipelines.stages.evaluate import evaluate
    from headrace.pipelines.stages.ingest import ingest
    from headrace.pipelines.stages.normalize import normalize
    from headrace.pipelines.stages.split import split
    from headrace.pipelines.stages.train import train

    varied, started_seconds = with_values(pipeline, values), time.monotonic()
    for stage in (ingest, normalize, split, train, evaluate):
        stage(varied, paths)
    seconds = round(time.monotonic() - started_seconds, 1)
    return Run(
        values=dict(values),
        seconds=seconds,
        figures={**_best_epoch(paths), **_measured(paths)},
        identity=read_run(paths).identity_digest,
    )


def _best_epoch(paths: PipelinePaths) -> dict[str, float]:
    """The metrics of the epoch whose weights are the model, those of training with that in front."""
    best = read_run(paths).best_epoch
    with paths.history.open(encoding="utf-8", newline="") as file:
        [row] = [row for row in csv.DictReader(file) if int(row["epoch"]) == best]
    metrics = {name: float(value) for name, value in row.items() if name not in ("epoch", "seconds")}
    return {name if name.startswith("validation_") else f"training_{name}": one for name, one in metrics.items()}


def _measured(paths: PipelinePaths) -> dict[str, float]:
    found = read_metrics(paths)
    return {**found.metrics, "examples": float(found.examples)}


def _keep_picture(paths: PipelinePaths, project: ProjectPaths) -> None:
    """Keep the last run's picture of data and fit, where there is one."""
    picture = paths.plots / "data_and_fit.png"
    if picture.is_file():
        with replace_file(project.results / f"{paths.pipeline}.png") as file:
            shutil.copyfile(picture, file)


def _write_page(project: ProjectPaths, pipelines: Mapping[str, Pipeline]) -> None:
    for name, measured in _found(project, pipelines).items():
        if pipelines[name].results.compare:
            _draw_errors(pipelines[name], measured, project.results / f"{name}.png")
    with replace_file(project.results_page) as file:
        file.write_text(page(project, pipelines), encoding="utf-8")


def _draw_errors(pipeline: Pipeline, measured: Measured, picture: Path) -> None:
    """Draw the errors by the values that are compared."""
    from headrace.components.plots.figures import errors_by_value, write_png

    if compare := pipeline.results.compare:
        splits = ("training", "validation")
        errors = {split: by_value(measured.runs, compare, error_of(pipeline, split)) for split in splits}
        with replace_file(picture) as file:
            write_png(errors_by_value(errors, name=compare.place), file)


def page(project: ProjectPaths, pipelines: Mapping[str, Pipeline]) -> str:
    """docs/results.md, from the measured results and the bounds in params.yaml."""
    found = _found(project, pipelines)
    pictures = [name for name in found if (project.results / f"{name}.png").is_file()]
    return render(pipelines, found, pictures=pictures)


def _found(project: ProjectPaths, pipelines: Mapping[str, Pipeline]) -> dict[str, Measured]:
    """The last results of each pipeline that was ever measured."""
    files = {name: project.results / f"{name}.json" for name in pipelines}
    return {
        name: Measured.model_validate_json(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.is_file()
    }
