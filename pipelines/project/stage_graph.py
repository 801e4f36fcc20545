"""The stage graph of one pipeline, read from dvc.yaml without DVC (importing it costs half a second).

A stage belongs to a pipeline if its matrix has the pipeline. A stage of the user's own, without a matrix, belongs to
each pipeline that reads what it writes. It also belongs to the one whose outputs it reads, unless it reads another
one's as well.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.components.errors import ParamsError
from headrace.pipelines.yaml_dialect import read_text, read_yaml

StageGraph = dict[str, tuple[str, ...]]

_ITEM = "${item.pipeline}"
_WRITTEN = ("outs", "metrics", "plots")


@dataclass(frozen=True)
class _Stage:
    """What a stage reads and writes; `*` stands for the name of any pipeline."""

    reads: tuple[PurePosixPath, ...]
    writes: tuple[PurePosixPath, ...]


def stage_graph(dvc_file: Path, pipeline: str) -> StageGraph:
    """Each stage of a pipeline with the stages whose outputs it reads, in an order in which they can run."""
    stages = _stages_of(dvc_file, pipeline)
    upstream = {
        name: tuple(other for other in stages if other != name and _overlap(stage.reads, stages[other].writes))
        for name, stage in stages.items()
    }
    try:
        return {name: upstream[name] for name in TopologicalSorter(upstream).static_order()}
    except CycleError as error:
        raise ParamsError(f"{dvc_file}: stages wait for each other: {' -> '.join(error.args[1])}") from error


def dvc_target(dvc_file: Path, stage: str, *, pipeline: str) -> str:
    """DVC's name of a pipeline's stage: `split@mnist`, or the plain name of a stage without a matrix."""
    return f"{stage}@{pipeline}" if "matrix" in _stages(dvc_file).get(stage, {}) else stage


def last_targets(dvc_file: Path, pipeline: str) -> list[str]:
    """Targets of DVC for the whole pipeline: the stages that no other of it waits for."""
    graph = stage_graph(dvc_file, pipeline)
    waited_for = {before for upstream in graph.values() for before in upstream}
    return [dvc_target(dvc_file, name, pipeline=pipeline) for name in graph if name not in waited_for]


def missing_inputs(root: Path, stage: str, *, pipeline: str) -> list[str]:
    """The stages (`split@mnist`) whose outputs this one reads and that are not all there, below `root`."""
    dvc_file = root / "dvc.yaml"
    stages = _stages_of(dvc_file, pipeline)
    return [
        dvc_target(dvc_file, name, pipeline=pipeline)
        for name in stage_graph(dvc_file, pipeline).get(stage, ())
        if not all((root / path).exists() for path in stages[name].writes)
    ]


def lost_outputs(root: Path, stage: str, *, pipeline: str) -> list[str]:
    """Outputs of a stage that are not there and that DVC keeps nowhere: `cache: false` and `persist: true`.

    `dvc repro --pull` takes such a stage for up to date, although it can't fetch them.
    """
    entries = [entry for key in _WRITTEN for entry in _stages(root / "dvc.yaml").get(stage, {}).get(key) or ()]
    kept_nowhere = [
        path
        for entry in entries
        if isinstance(entry, dict)
        for path, options in entry.items()
        if isinstance(options, dict) and options.get("cache") is False and options.get("persist") is True
    ]
    paths = (_resolve(path, pipeline, f"stages.{stage}") for path in kept_nowhere)
    return [path for path in paths if path is not None and not (root / path).exists()]


def _stages_of(dvc_file: Path, pipeline: str) -> dict[str, _Stage]:
    content = _stages(dvc_file)
    own: dict[str, _Stage] = {}
    shared: dict[str, _Stage] = {}
    for name, stage in content.items():
        if not isinstance(stage, dict):
            raise ParamsError(f"{dvc_file}: stages.{name}: expected cmd, deps and outs, found {stage!r:.60}")
        if "matrix" not in stage:
            shared[name] = _parsed_stage(dvc_file, name, stage, pipeline=None)
        elif _runs_for(stage["matrix"], pipeline, f"{dvc_file}: stages.{name}"):
            own[name] = _parsed_stage(dvc_file, name, stage, pipeline=pipeline)
    kept = own | (_connected(shared, own, _of_any_pipeline(dvc_file, content)) if shared else {})
    return {name: kept[name] for name in content if name in kept}


def _of_any_pipeline(dvc_file: Path, content: dict[str, dict[str, Any]]) -> dict[str, _Stage]:
    """The stages that many pipelines have, with `*` for the name of each."""
    return {
        name: _parsed_stage(dvc_file, name, stage, pipeline="*")
        for name, stage in content.items()
        if "matrix" in stage and _ITEM in str(stage)
    }


def _connected(shared: dict[str, _Stage], own: dict[str, _Stage], others: dict[str, _Stage]) -> dict[str, _Stage]:
    """The stages without a matrix that belong to the pipeline of `own`."""
    found: dict[str, _Stage] = {}
    while True:
        inside = own | found
        more = {
            name: stage
            for name, stage in shared.items()
            if name not in found
            and (
                any(_overlap(one.reads, stage.writes) for one in inside.values())
                or _reads_only(stage, inside.values(), {**others, **shared}.values())
            )
        }
        if not more:
            return found
        found |= more


def _reads_only(stage: _Stage, inside: Iterable[_Stage], all_stages: Iterable[_Stage]) -> bool:
    """Whether a stage reads outputs of these stages, and none that only another stage makes."""
    made_inside = tuple(path for one in inside for path in one.writes)
    made = tuple(path for one in all_stages if one is not stage for path in one.writes)
    read = [path for path in stage.reads if _overlap((path,), made) or _overlap((path,), made_inside)]
    return bool(read) and all(_overlap((path,), made_inside) for path in read)


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


def _runs_for(matrix: Any, pipeline: str, place: str) -> bool:
    """Whether a stage's matrix has this pipeline; a matrix over something else belongs to none."""
    if isinstance(matrix, dict) and "pipeline" not in matrix:
        return False
    names = matrix["pipeline"] if isinstance(matrix, dict) and len(matrix) == 1 else None
    if not (isinstance(names, list) or names == "${pipelines}"):
        expected = "`matrix: {pipeline: ${pipelines}}` or a list of names"
        raise ParamsError(f"{place}: expected {expected}, found {matrix}")
    return names == "${pipelines}" or pipeline in names


def _parsed_stage(dvc_file: Path, name: str, stage: dict[str, Any], *, pipeline: str | None) -> _Stage:
    place = f"{dvc_file}: stages.{name}"
    return _Stage(_paths(stage, place, ("deps",), pipeline), _paths(stage, place, _WRITTEN, pipeline))


def _paths(stage: dict[str, Any], place: str, keys: Iterable[str], pipeline: str | None) -> tuple[PurePosixPath, ...]:
    """The paths under some keys; an entry is a path, or a mapping of a path to its options."""
    found: list[str] = []
    for key in keys:
        entries = stage.get(key, [])
        if not isinstance(entries, list):
            what = "nothing: remove the key" if entries is None else f"{entries!r:.60}"
            raise ParamsError(f"{place}.{key}: expected a list of paths, found {what}")
        for entry in entries:
            found += [entry] if isinstance(entry, str) else list(entry)
    resolved = (_resolve(f"{stage['wdir']}/{path}" if "wdir" in stage else path, pipeline, place) for path in found)
    return tuple(PurePosixPath(path) for path in resolved if path is not None)


def _resolve(path: str, pipeline: str | None, place: str) -> str | None:
    """The path of one pipeline; None where a stage without a matrix has a variable, whose value only DVC knows."""
    resolved = path if pipeline is None else path.replace(_ITEM, pipeline)
    unknown = re.search(r"\$\{[^}]*\}", resolved)
    if unknown and pipeline is not None:
        raise ParamsError(f"{place}: {path}: only {_ITEM} can stand in a path, found {unknown.group()}")
    return None if unknown else resolved


def _overlap(reads: Iterable[PurePosixPath], writes: Iterable[PurePosixPath]) -> bool:
    """Whether a path that is read lies at, below or above one that is written: DVC's own rule."""
    return any(_is_prefix(read, write) for read in reads for write in writes)


def _is_prefix(read: PurePosixPath, write: PurePosixPath) -> bool:
    """Whether one of the two paths starts with the other; a `*` in `write` is any text within a name."""
    return all(
        one == other or ("*" in other and fnmatchcase(one, other))
        for one, other in zip(read.parts, write.parts, strict=False)
    )
