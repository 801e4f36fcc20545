"""A pipeline's own part of the files that all pipelines share: what another pipeline changes there is not its concern.

Where the part can't be separated for certain, there is no digest, and the whole file counts.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from headrace.pipelines.parsed_yaml import read_project_yaml
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.yaml_dialect import read_text

FileState = tuple[int, ...]

_LOCK_HEAD = "schema: '2.0'\nstages:\n"  # as DVC writes it
_VARIABLES = {"${pipelines}", "${item.pipeline}"}


def own_digests(
    root: Path, pipeline: str, stages: Mapping[str, Mapping[str, Any]], states: Mapping[str, list[int] | None]
) -> dict[str, str]:
    """SHA-256 of the pipeline's part by file; `stages` are by target, `states` say which version of a file is meant."""
    project = ProjectPaths(root)
    lock, params, code = project.dvc_lock, project.params, project.code_digests
    parts = {lock: _locked_text(lock, _state(root, lock, states), tuple(stages))}
    if _reads_own_keys(stages, str(code.relative_to(root)), pipeline):
        parts[code] = _section(code, _state(root, code, states), pipeline)
    if _reads_own_keys(stages, params.name, pipeline) and _has_known_variables(read_text(project.dvc)):
        parts[params] = _section(params, _state(root, params, states), pipeline)
    return {
        str(file.relative_to(root)): hashlib.sha256(part.encode()).hexdigest()
        for file, part in parts.items()
        if part is not None
    }


def _state(root: Path, file: Path, states: Mapping[str, list[int] | None]) -> FileState:
    return tuple(states.get(str(file.relative_to(root))) or ())


def _reads_own_keys(stages: Mapping[str, Mapping[str, Any]], file: str, pipeline: str) -> bool:
    """Whether all that the stages read of a file of parameters is in the section of the pipeline's name."""
    keys = [key for stage in stages.values() for key in stage.get("params", {}).get(file, {})]
    return all(key.partition(".")[0] == pipeline for key in keys)


def _has_known_variables(dvc_text: str) -> bool:
    return "vars:" not in dvc_text and set(re.findall(r"\$\{[^}]*\}?", dvc_text)) <= _VARIABLES


def _section(file: Path, state: FileState, pipeline: str) -> str | None:
    content = _content(file, state)
    if not isinstance(content, dict) or pipeline not in content:
        return None
    names = content.get("pipelines")
    return json.dumps([isinstance(names, list) and pipeline in names, content[pipeline]], sort_keys=True)


@lru_cache(maxsize=4)
def _content(file: Path, state: FileState) -> Any:  # noqa: ARG001 - another state is another content
    return json.loads(read_text(file)) if file.suffix == ".json" else read_project_yaml(file)


def _locked_text(file: Path, state: FileState, targets: tuple[str, ...]) -> str | None:
    """Lines of the targets in dvc.lock: DVC writes the whole file, and reading all of it as YAML takes seconds."""
    entries = _lock_entries(file, state)
    if entries is None or not entries.keys() >= set(targets):
        return None
    text = "".join(entries[target] for target in targets)
    return None if re.search(r"[:\-] +[&*!]", text) else text


@lru_cache(maxsize=4)
def _lock_entries(file: Path, state: FileState) -> dict[str, str] | None:  # noqa: ARG001
    text = read_text(file) if file.is_file() else ""
    body = text.removeprefix(_LOCK_HEAD)
    if body == text or not text.endswith("\n") or re.search(r"^(?!  )", body[:-1], flags=re.MULTILINE):
        return None
    entries = [part for part in re.split(r"^(?=  [^ \-])", body, flags=re.MULTILINE) if part]
    named = {entry.partition(":")[0].strip(): entry for entry in entries}
    return named if len(named) == len(entries) else None
