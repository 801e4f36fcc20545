"""The stage graph of one pipeline, read from dvc.yaml without DVC (importing it costs half a second)."""

import re
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.components.errors import ParamsError
from headrace.pipelines.yaml_dialect import read_text, read_yaml

StageGraph = dict[str, tuple[str, ...]]


def stage_graph(dvc_file: Path, pipeline: str) -> StageGraph:
    """Return each stage of a pipeline with the stages whose outputs it reads, in an order in which they can run."""
    stages = {
        name: stage for name, stage in _stages(dvc_file).items() if _runs_for(stage.get("matrix"), pipeline, dvc_file)
    }
    reads = {name: _paths(stage, pipeline, "deps") for name, stage in stages.items()}
    writes = {name: _paths(stage, pipeline, "outs", "metrics", "plots") for name, stage in stages.items()}
    upstream = {
        name: tuple(other for other in stages if other != name and _overlap(reads[name], writes[other]))
        for name in stages
    }
    try:
        return {name: upstream[name] for name in TopologicalSorter(upstream).static_order()}
    except CycleError as error:
        raise ParamsError(f"{dvc_file}: stages wait for each other: {' -> '.join(error.args[1])}") from error


def missing_inputs(root: Path, stage: str, *, pipeline: str) -> list[str]:
    """Return the stages (`split@mnist`) whose outputs this one reads and that are not all there, below `root`."""
    dvc_file = root / "dvc.yaml"
    stages = _stages(dvc_file)
    before = stage_graph(dvc_file, pipeline).get(stage, ())
    made = {name: _paths(stages[name], pipeline, "outs", "metrics", "plots") for name in before}
    return [f"{name}@{pipeline}" for name in before if not all((root / path).exists() for path in made[name])]


def _stages(dvc_file: Path) -> dict[str, dict[str, Any]]:
    content = _parsed(read_text(dvc_file), dvc_file.name)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise ParamsError(f"{dvc_file}: expected `stages`, found {content!r:.60}")
    return stages


@lru_cache(maxsize=2)
def _parsed(text: str, name: str) -> Any:
    """Content of the text, cached: a DAG file reads the graph of every pipeline in turn."""
    return read_yaml(text, name=name)


def _runs_for(matrix: Any, pipeline: str, dvc_file: Path) -> bool:
    """Whether a stage's matrix has this pipeline; a stage without a matrix belongs to none."""
    if matrix is None:
        return False
    names = matrix.get("pipeline")
    if set(matrix) != {"pipeline"} or not (isinstance(names, list) or names == "${pipelines}"):
        raise ParamsError(
            f"{dvc_file}: expected `matrix: {{pipeline: ${{pipelines}}}}` or a list of names, found {matrix}"
        )
    return names == "${pipelines}" or pipeline in names


def _paths(stage: dict[str, Any], pipeline: str, *keys: str) -> list[PurePosixPath]:
    """The paths under some keys; an entry is a path, or a mapping of a path to its options."""
    entries = [entry for key in keys for entry in stage.get(key, [])]
    paths = [path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)]
    folder = PurePosixPath(stage.get("wdir", "."))
    return [folder / _resolve(path, pipeline) for path in paths]


def _resolve(path: str, pipeline: str) -> str:
    resolved = path.replace("${item.pipeline}", pipeline)
    if unknown := re.search(r"\$\{[^}]*\}", resolved):
        raise ParamsError(f"dvc.yaml: {path}: only ${{item.pipeline}} can stand in a path, found {unknown.group()}")
    return resolved


def _overlap(reads: list[PurePosixPath], writes: list[PurePosixPath]) -> bool:
    """Whether a path that is read lies at, below or above one that is written: DVC's own rule."""
    return any(_is_below(read, write) or _is_below(write, read) for read in reads for write in writes)


def _is_below(path: PurePosixPath, other: PurePosixPath) -> bool:
    return path.parts[: len(other.parts)] == other.parts  # a tenth of what `is_relative_to` takes
