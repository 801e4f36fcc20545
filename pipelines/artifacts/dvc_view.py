"""reports/<pipeline>/dvc.yaml: what `dvc metrics` and `dvc plots` show of a pipeline.

DVC reads every dvc.yaml of a project. One beside the files that it shows, written with them, says nothing of pipelines
that never ran, whose files `dvc metrics show` would fail to load. It has no stages, and is no output: DVC refuses that.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from headrace.components.files.atomic import replace_file
from headrace.pipelines.paths import PipelinePaths

_HEADER = "# Written by `headrace evaluate`: what `dvc metrics` and `dvc plots` show of this pipeline.\n"


def write_dvc_view(paths: PipelinePaths, *, history: Iterable[str], curves: Mapping[str, tuple[str, str, str]]) -> None:
    """Write it, whole, for the files that are there.

    `history` are the columns of history.csv; `curves` has title, x and y of each table of plots/, by its name.
    """
    plots: list[Any] = [_learning_curve(paths.pipeline, name, set(history)) for name in _metrics_of(history)]
    plots += [_curve(paths.pipeline, name, *curve) for name, curve in sorted(curves.items())]
    images = sorted(file.name for file in paths.plots.glob("*.png") if file.stem not in {*curves, "learning_curves"})
    plots += [f"{paths.plots.name}/{name}" for name in images]
    text = yaml.safe_dump(
        {"metrics": ["metrics.json", "ingest.json"], "plots": plots}, sort_keys=False, allow_unicode=True
    )
    with replace_file(paths.dvc_view) as file:
        file.write_text(_HEADER + text, encoding="utf-8")


def _metrics_of(history: Iterable[str]) -> list[str]:
    shown = [name for name in history if name not in ("epoch", "seconds")]
    return list(dict.fromkeys(name.removeprefix("validation_") for name in shown))


def _learning_curve(pipeline: str, metric: str, columns: set[str]) -> dict[str, Any]:
    lines = [name for name in (metric, f"validation_{metric}") if name in columns]
    options = {"title": f"{pipeline}: {metric} by epoch", "x": "epoch", "y": {"history.csv": lines}}
    return {f"{pipeline} {metric}": options}


def _curve(pipeline: str, name: str, title: str, x: str, y: str) -> dict[str, Any]:
    file = f"plots/{name}.csv"
    return {
        f"{pipeline} {title}": {"template": "simple", "title": f"{pipeline}: {title}", "x": {file: x}, "y": {file: y}}
    }
