"""What `headrace run` shows when it has ended: what ran, how good the model is, and commands that show more."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headrace.components.schema.labels import Label
from headrace.components.tasks.variants import task_of
from headrace.pipelines.commands.progress.repro_progress import StageProgress
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.tracking.server import address_of, tracking_uri


def summary(pipeline: Pipeline, paths: PipelinePaths, stages: Sequence[StageProgress], *, seconds: float) -> str:
    """A short text: stages and seconds, the metric that decides, the results' paths, commands that show them."""
    metrics, run, registration = (_read(file) for file in (paths.metrics, paths.run, paths.registration))
    metric = pipeline.register_.compare.metric
    # Of a model restored from DVC's cache, the run in this MLflow, not the one where it was trained.
    run_id = registration.get("mlflow_run_id") or run.get("mlflow_run_id", "-")
    value = _shown(metrics.get(metric), unit=_unit(pipeline.ingest.label, metric))
    results = {
        f"{_measured_on(pipeline)} {metric.replace('_', ' ')}": value,
        "registered": "\n".join(_registered(registration)),
        "model": _relative(paths.model),
        "report": _relative(paths.report),
        "MLflow run": f"{run_id} in experiment {run.get('mlflow_experiment', '-')}",
    }
    commands = [_mlflow(paths.root), f"{program('dvc')} plots show", f"{program('headrace')} --help"]
    return "\n".join(
        [
            "",
            *(
                f"{stage.name:<12}{stage.state:<10}{f'{stage.seconds:8.1f} s' if stage.seconds else ''}".rstrip()
                for stage in stages
            ),
            f"{'together':<22}{seconds:8.1f} s",
            "",
            *_aligned(results),
            "",
            "see also:",
            *(f"  {command}" for command in commands),
        ]
    )


def program(name: str) -> str:
    """A program of this environment, as a user would type it in the current folder."""
    beside_python = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    return name if found and Path(found) == beside_python else shlex.quote(_relative(beside_python))


def _mlflow(root: Path) -> str:
    uri = tracking_uri(root)
    if uri.startswith(("http://", "https://")):
        return address_of(uri)
    own = "MLFLOW_TRACKING_URI" not in os.environ
    store = f"sqlite:///{_relative(ProjectPaths(root).mlflow_database)}" if own else uri
    return f"{program('mlflow')} ui --backend-store-uri {shlex.quote(store)}"


def _relative(path: Path) -> str:
    """A path as seen from the working directory, if it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _shown(value: object, *, unit: str) -> str:
    return f"{value:.4f} {unit}".rstrip() if isinstance(value, int | float) else "-"


def _measured_on(pipeline: Pipeline) -> str:
    return "training rows' (nothing held out)" if pipeline.split.held_out == "none" else "test"


def _unit(label: Label, metric: str) -> str:
    """The label's unit, for an error that is measured in it."""
    return task_of(label).unit if metric.endswith("_error") else ""


def _registered(registration: dict[str, Any]) -> list[str]:
    """The version and whether it is champion, then one line for each reason."""
    if not registration:
        return ["-"]
    outcome = f"version {registration.get('version')}, {registration.get('alias') or 'not champion'}"
    return [f"{outcome}, because", *registration.get("reasons", ())]


def _aligned(results: dict[str, str]) -> Iterator[str]:
    """Names in one column, values in another, also where a value has several lines."""
    width = max(map(len, results))
    for name, value in results.items():
        for place, line in enumerate(value.splitlines()):
            yield f"{'' if place else name:<{width}}  {line}"


def _read(file: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if a changed dvc.yaml no longer writes it."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content if isinstance(content, dict) else {}
