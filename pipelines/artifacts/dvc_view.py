"""reports/<pipeline>/dvc.yaml: what `dvc metrics` and `dvc plots` show of a pipeline.

DVC reads every dvc.yaml of a project. One beside the files that it shows, written with them, says nothing of pipelines
that never ran, whose files `dvc metrics show` would fail to load. It has no stages, and is no output: DVC refuses that.
So it is not restored with the others, and `register`, which always runs after a restored `evaluate`, writes it again.
"""

from pathlib import Path
from typing import Any

import yaml

from headrace.components.files.atomic import replace_file
from headrace.pipelines.paths import PipelinePaths

_HEADER = "# Written by `headrace evaluate`: what `dvc metrics` and `dvc plots` show of this pipeline.\n"
_NO_METRICS = ("epoch", "seconds")


def write_dvc_view(paths: PipelinePaths) -> None:
    """Write it, whole, for the curves and figures that are there."""
    curves = sorted(paths.plots.glob("*.csv"))
    learning = _columns(paths.history) if paths.history.is_file() else []
    metrics = dict.fromkeys(name.removeprefix("validation_") for name in learning if name not in _NO_METRICS)
    plots: list[Any] = [_learning_curve(paths.pipeline, name, learning) for name in metrics]
    plots += [_curve(paths.pipeline, file) for file in curves]
    drawn = {file.stem for file in curves} | {"learning_curves"}
    plots += [f"plots/{file.name}" for file in sorted(paths.plots.glob("*.png")) if file.stem not in drawn]
    text = yaml.safe_dump({"metrics": ["metrics.json", "ingest.json"], "plots": plots}, sort_keys=False)
    with replace_file(paths.dvc_view) as file:
        file.write_text(_HEADER + text, encoding="utf-8")


def _learning_curve(pipeline: str, metric: str, columns: list[str]) -> dict[str, Any]:
    lines = [name for name in (metric, f"validation_{metric}") if name in columns]
    options = {"title": f"{pipeline}: {metric} by epoch", "x": "epoch", "y": {"history.csv": lines}}
    return {f"{pipeline} {metric}": options}


def _curve(pipeline: str, file: Path) -> dict[str, Any]:
    """The second column of a table over the first."""
    title, place, (x, y, *_) = file.stem.replace("_", " "), f"plots/{file.name}", _columns(file)
    options = {"template": "simple", "title": f"{pipeline}: {title}", "x": {place: x}, "y": {place: y}}
    return {f"{pipeline} {title}": options}


def _columns(table: Path) -> list[str]:
    with table.open(encoding="utf-8") as lines:
        return lines.readline().rstrip("\r\n").split(",")
