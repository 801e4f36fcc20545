"""Whether a pipeline is as DVC left it, without starting DVC: that takes seconds, and more with each pipeline there is.

After a run, a file of notes holds what the answer depends on: settings of the project, and all that its stages read
and wrote, by size, times and inode, as git and DVC recognise files. Of files that all pipelines share, the pipeline's
own part is noted too, since each run of another one changes them. Notes are taken only of what was seen to be as
dvc.lock says: by DVC, which found nothing to do in between, or by its digests.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.components.errors import ParamsError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.parsed_yaml import read_project_yaml
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.code_digests import OWN_CODE_STAGE, write_digests
from headrace.pipelines.project.own_parts import own_digests
from headrace.pipelines.project.stage_graph import dvc_target, stage_graph
from headrace.pipelines.yaml_dialect import read_yaml_file

Observed = dict[str, list[int] | None]
"""By path within the project: size, times of modification and change in nanoseconds, inode; None where nothing is."""

_MOST_HASHED_BYTES = 1 << 26
_JUST_NOW_NANOSECONDS = 20_000_000  # a file may change twice within a tick of the clock
_SETTINGS = ("params.yaml", "dvc.yaml", "headrace.lock", ".dvc/config", ".dvc/config.local", ".dvcignore")


def unchanged_stages(paths: PipelinePaths) -> list[str] | None:
    """The pipeline's stages, if nothing has changed since notes were taken of them; None where that is not known."""
    try:
        notes = json.loads(paths.up_to_date.read_text(encoding="utf-8"))
        stages, watched, noted = list(notes["stages"]), list(notes["watched"]), dict(notes["files"])
        locked, own = dict(notes["locked"]), dict(notes["own"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    found = observe(paths.root, watched)
    changed = {path for path in noted.keys() | found.keys() if noted.get(path) != found.get(path)}
    if not noted or not changed <= own.keys():
        return None
    try:
        current = own_digests(paths.root, paths.pipeline, locked, found) if changed else own
    except (ParamsError, ValueError):
        return None
    return stages if all(current.get(path) == own[path] for path in changed) else None


def stale_targets(project: ProjectPaths, pipelines: Iterable[str]) -> set[str]:
    """DVC's names of the stages that have changed or never ran.

    DVC is asked for those alone that ran and may have changed: its answer takes longer the more stages there are.
    """
    dvc.check_lock_file(project.root)
    write_digests(project)
    content = read_project_yaml(project.dvc_lock) if project.dvc_lock.is_file() else {}
    locked = set(content.get("stages", {}))
    stale: set[str] = set()
    asked: set[str] = set()
    for name in pipelines:
        if unchanged_stages(project.of(name)) is None:
            targets = {dvc_target(project.dvc, stage, pipeline=name) for stage in stage_graph(project.dvc, name)}
            stale |= targets - locked
            asked |= targets & locked
    return stale | (dvc.status(project.root, *sorted(asked)).keys() if asked else set())


class Watch:
    """What a pipeline's stages depend on, as it is before `dvc repro`; `take_notes` when that has ended well."""

    def __init__(self, paths: PipelinePaths) -> None:
        self._paths = paths
        self._stages = _locked(paths)
        self._settings = _digests(paths.root, _settings(paths.root, self._stages or {}))
        self._files = observe(paths.root, _paths_of(self._stages or {}))

    def take_notes(self) -> None:
        """Note that the pipeline is up to date, where it can be known that it is what DVC has left."""
        root, stages = self._paths.root, _locked(self._paths)
        if stages is None:
            return
        files = _paths_of(stages)
        watched = ["dvc.lock", *_settings(root, stages), *files]
        found = observe(root, watched)
        newest = max(entry[1] for entry in found.values() if entry)
        locked = {
            dvc_target(ProjectPaths(root).dvc, name, pipeline=self._paths.pipeline): {"params": _keys(stage)}
            for name, stage in stages.items()
        }
        own = own_digests(root, self._paths.pipeline, locked, found)
        # By their content: DVC writes the digests of own code again, whatever they are.
        same_settings = _digests(root, _settings(root, stages)) == self._settings
        found_by_dvc = stages == self._stages and observe(root, files) == self._files
        if (
            same_settings
            and (found_by_dvc or _is_as_locked(root, stages, found))
            and newest < time.time_ns() - _JUST_NOW_NANOSECONDS
            and observe(root, watched) == found
        ):
            notes = {"stages": list(stages), "watched": watched, "files": found, "locked": locked, "own": own}
            with replace_file(self._paths.up_to_date) as file:
                file.write_text(json.dumps(notes), encoding="utf-8")


def observe(root: Path, paths: Iterable[str]) -> Observed:
    """What is at these paths, and in the folders among them."""
    found: Observed = {}
    for path in paths:
        found[path] = _entry(root / path)
        for folder, _, names in os.walk(root / path):
            inside = Path(folder).relative_to(root)
            found |= {str(inside / name): _entry(root / inside / name) for name in names}
    return found


def _entry(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _locked(paths: PipelinePaths) -> dict[str, dict[str, Any]] | None:
    """The pipeline's stages as in dvc.lock; None where one is not there, or is one that DVC always runs."""
    project = ProjectPaths(paths.root)
    declared = read_yaml_file(project.dvc)["stages"]
    content = read_project_yaml(project.dvc_lock) if project.dvc_lock.is_file() else {}
    locked: dict[str, dict[str, Any]] = {}
    for name in stage_graph(project.dvc, paths.pipeline):
        stage = content.get("stages", {}).get(dvc_target(project.dvc, name, pipeline=paths.pipeline))
        if name == OWN_CODE_STAGE:
            continue
        if stage is None or declared[name].get("always_changed") or "wdir" in declared[name]:
            return None
        locked[name] = stage
    files = [entry["path"] for stage in locked.values() for entry in _files(stage)]
    return None if any("://" in path for path in files) else locked


def _files(stage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from stage.get("deps", ())
    yield from stage.get("outs", ())


def _keys(stage: Mapping[str, Any]) -> dict[str, list[str]]:
    """Keys of the parameters that a stage reads, by file."""
    return {file: list(values) for file, values in stage.get("params", {}).items()}


def _settings(root: Path, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Files that decide what is up to date, besides dvc.lock: those of parameters among them."""
    project = ProjectPaths(root)
    code = str(project.code_digests.relative_to(root))
    named = {file for stage in stages.values() for file in stage.get("params", {})}
    return sorted({*_SETTINGS, code, *named, *_files_of_variables(read_yaml_file(project.dvc))})


def _files_of_variables(content: Mapping[str, Any]) -> Iterator[str]:
    """Files whose values dvc.yaml puts into its stages: `vars: [more.yaml, other.yaml:name]`, of all or of one."""
    for section in (content, *content["stages"].values()):
        for one in section.get("vars", ()):
            if isinstance(one, str):
                yield one.partition(":")[0]


def _paths_of(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({entry["path"] for stage in stages.values() for entry in _files(stage)})


def _digests(root: Path, files: Iterable[str]) -> dict[str, str | None]:
    return {file: _md5(root / file) for file in files}


def _is_as_locked(root: Path, stages: Mapping[str, Mapping[str, Any]], found: Observed) -> bool:
    """Whether all that the stages read and wrote has the digests of dvc.lock; not asked of what is large."""
    if sum(entry[0] for entry in found.values() if entry) > _MOST_HASHED_BYTES:
        return False
    entries = [entry for stage in stages.values() for entry in _files(stage)]
    return all("md5" in entry and _md5(root / entry["path"]) == entry["md5"] for entry in entries)


def _md5(path: Path) -> str | None:
    """DVC's digest of a file, or of a folder: that of the list of its files."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if not path.is_dir():
        return None
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    listed = [{"md5": _md5(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
