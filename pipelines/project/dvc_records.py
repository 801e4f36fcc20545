"""What dvc.lock says of a pipeline's stages: the MD5 of each dependency and output, as DVC knows them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.pipelines.parsed_yaml import read_project_yaml
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.stage_graph import dvc_target, stage_graph
from headrace.pipelines.yaml_dialect import read_yaml


def locked_stages(root: Path, pipeline: str, *, before: str | None = None) -> dict[str, Any]:
    """Entries of dvc.lock by DVC's name of each stage of a pipeline; none where DVC has not run it.

    With `before`, only those of stages that this one waits for, also through others.
    """
    project = ProjectPaths(root)
    if not (project.dvc_lock.is_file() and project.dvc.is_file()):
        return {}
    found = stages_among(read_project_yaml(project.dvc_lock), project.dvc, pipeline)
    if before is None:
        return found
    wanted = {dvc_target(project.dvc, stage, pipeline=pipeline) for stage in _upstream(project.dvc, before, pipeline)}
    return {target: entry for target, entry in found.items() if target in wanted}


def locked_stages_of(text: str, dvc_file: Path, pipeline: str) -> dict[str, Any]:
    """The same of the text of a dvc.lock, such as that of an earlier commit."""
    return stages_among(read_yaml(text, name="dvc.lock"), dvc_file, pipeline)


def stages_among(content: Any, dvc_file: Path, pipeline: str) -> dict[str, Any]:
    """Entries of a parsed dvc.lock that are of the pipeline."""
    stages = content.get("stages") if isinstance(content, dict) else None
    targets = [dvc_target(dvc_file, stage, pipeline=pipeline) for stage in stage_graph(dvc_file, pipeline)]
    return {target: stages[target] for target in targets if isinstance(stages, dict) and target in stages}


def _upstream(dvc_file: Path, stage: str, pipeline: str) -> set[str]:
    graph, found, waiting = stage_graph(dvc_file, pipeline), set[str](), [stage]
    while waiting:
        more = [one for one in graph.get(waiting.pop(), ()) if one not in found]
        found.update(more)
        waiting += more
    return found


def outputs(stages: Mapping[str, Any]) -> dict[str, str]:
    """MD5 of each output by its path; that of a folder ends in `.dir`."""
    return dict(_digests(stages, "outs"))


def dependencies(stages: Mapping[str, Any]) -> dict[str, str]:
    """MD5 of each dependency by its path."""
    return dict(_digests(stages, "deps"))


def _digests(stages: Mapping[str, Any], key: str) -> Iterator[tuple[str, str]]:
    for stage in stages.values():
        for entry in stage.get(key) or ():
            if "md5" in entry:
                yield entry["path"], entry["md5"]
