"""A pipeline measured over several seeds or folds: all its stages but register, again for each."""

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from headrace.components.files.atomic import replace_file
from headrace.components.numerics import NUMERICS
from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.artifacts.metrics_record import read_metrics
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.commands.measurement.results_page import MEASURED_STAGES, Measured, Run
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline, with_workers
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.code_digests import own_code, source_code, transform_code
from headrace.pipelines.project.edit_params import with_values
from headrace.pipelines.remote_training.handoff import git_state

_PACKAGES = ("headrace", "tensorflow", "keras", "ray")


def measure(pipeline: Pipeline, project: ProjectPaths, *, workers: str | None) -> Measured:
    """Run every stage but register for each seed or fold; all runs' metrics, and what they were made with."""
    scaled = pipeline if workers is None else with_workers(pipeline, workers)
    # A root for each: MLflow keeps a store's file open, and could not write to another of the same path.
    paths = PipelinePaths(project.measuring / pipeline.name, pipeline.name)
    shutil.rmtree(project.measuring, ignore_errors=True)
    paths.root.mkdir(parents=True)
    code = OwnCode(
        source_code(project.root, pipeline).sources
        | transform_code(project.root, pipeline).sources
        | own_code(project.root, pipeline).sources
    )
    try:
        _write_code(code, paths.root)
        runs = [_run(scaled, paths, values) for values in variations(pipeline)]
        if not pipeline.results.compare:
            _keep_picture(paths, project)
    finally:
        shutil.rmtree(project.measuring, ignore_errors=True)
    state = git_state(project.root)
    return Measured(
        pipeline=pipeline.name,
        settings_sha256=settings_digest(pipeline, code),
        git_commit=state.git_commit,
        git_dirty=state.git_dirty,
        numerics={stage: NUMERICS[stage] for stage in MEASURED_STAGES},
        versions={name: version(name) for name in _PACKAGES},
        cores=os.cpu_count() or 1,
        workers=scaled.train.max_workers,
        runs=tuple(runs),
    )


def _write_code(code: OwnCode, root: Path) -> None:
    """Write the own code into the folder of the run, where the stages look for it."""
    for path, text in code.sources.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def variations(pipeline: Pipeline) -> Iterator[dict[str, int | float | str]]:
    """Yield what each run has other than params.yaml, by place."""
    results = pipeline.results
    place, numbers = ("split.fold", range(results.folds)) if results.folds else ("train.seed", results.seeds)
    for compared in [{results.compare.place: value} for value in results.compare.values] if results.compare else [{}]:
        yield from ({place: number, **compared} for number in numbers)


def settings_digest(pipeline: Pipeline, code: OwnCode) -> str:
    """SHA-256 of the settings and the own code that decide a pipeline's metrics.

    A result with another digest is out of date.
    """
    parts = {"description", "schedule", "register_"}
    settings = pipeline.model_dump(mode="json", exclude_unset=True, exclude=parts)
    settings.get("results", {}).pop("reach", None)  # bounds change how metrics are read, not the metrics
    settings["train"].pop("num_workers", None)
    if code.sources:
        settings["code"] = code.digests
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
