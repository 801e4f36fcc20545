"""What decides the output of a stage besides its data and params: one record for DVC, run names and the storage.

headrace.lock holds it by stage, as the versions of numerics, Python and packages. DVC reads the file as parameters, so
a stage is stale once a version there changes. A stage refuses to run where the file is not true of the installation.
"""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from headrace.components.errors import ParamsError
from headrace.components.files.atomic import replace_file
from headrace.components.numerics import NUMERICS, PACKAGES, mixing_digest
from headrace.components.own_code.importable_code import HUB_MISSING
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.yaml_dialect import read_text, read_yaml_file

Version = int | str | None
Versions = dict[str, int | str]
Differences = dict[str, tuple[Version, Version]]
"""Versions before and after by name; None where the name is not there."""

_HEAD = """\
# What decides the output of each stage besides its data and params.yaml: versions of numerics, Python and packages.
# Written by `headrace upgrade`; DVC runs a stage again when its section changes.
"""


def installed(stage: str, *, also: Iterable[str] = ()) -> Versions:
    """Versions of this installation that decide the output of a stage; `also` names packages that its own code uses.

    Raises ParamsError where one of these is not installed.
    """
    try:
        return {**_own(stage), **{name: version(name) for name in (*PACKAGES[stage], *also)}}
    except PackageNotFoundError as error:
        raise ParamsError(f"{stage}: own code {HUB_MISSING}") from error


def wanted(root: Path, stage: str) -> dict[str, str]:
    """Versions of Python and packages of a stage, by headrace.lock; what is installed here, where it says none."""
    file = ProjectPaths(root).lock
    section = _read(file).get(stage) if file.is_file() else None
    found = section if isinstance(section, dict) else installed(stage)
    return {name: str(found[name]) for name in ("python", *PACKAGES[stage]) if name in found}


def lock_text(pins: Mapping[str, str] | None = None) -> str:
    """The content of headrace.lock, for what is installed or for other versions of packages, `pins` by name."""
    versions = version if pins is None else pins.__getitem__
    sections = {stage: {**_own(stage), **{name: versions(name) for name in PACKAGES[stage]}} for stage in NUMERICS}
    return _HEAD + yaml.safe_dump(sections, sort_keys=False)


def write_lock(root: Path, requirements: Path | None = None) -> dict[str, Differences]:
    """Write headrace.lock from what is installed, or from a file of `name==version` lines.

    Returns what has changed, by stage; where nothing has, the file is left as it is. Raises ParamsError for a file that
    leaves a package out.
    """
    try:
        text, file = lock_text(None if requirements is None else pinned(requirements)), ProjectPaths(root).lock
    except KeyError as error:
        raise ParamsError(f"{requirements}: expected a line {error.args[0]}==VERSION, found none") from error
    before = _read(file) if file.is_file() else {}
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        with replace_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    after = _read(file)
    changes = {stage: _differences(before.get(stage), after[stage]) for stage in after}
    return {stage: found for stage, found in changes.items() if found}


def pinned(requirements: Path) -> dict[str, str]:
    """Versions by package of a file of `name==version` lines, those whose marker holds for this Python."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = {}
    for line in read_text(requirements).splitlines():
        try:
            requirement = Requirement(line.removesuffix("\\").strip())
        except InvalidRequirement:
            continue  # a hash or a comment
        if requirement.marker is None or requirement.marker.evaluate():
            for pin in requirement.specifier:
                if pin.operator == "==":
                    found[requirement.name] = pin.version
    return found


def require_lock(root: Path, stages: Iterable[str]) -> None:
    """Raise ParamsError unless headrace.lock says of these stages what is installed.

    A project whose dvc.yaml does not read the file needs none.
    """
    project = ProjectPaths(root)
    if not project.lock.is_file():
        if project.dvc.is_file() and project.lock.name in project.dvc.read_text(encoding="utf-8"):
            raise ParamsError(f"no {project.lock.name} beside dvc.yaml, which reads it; `headrace upgrade` writes it")
        return
    locked = _read(project.lock)
    for stage in stages:
        expected, found = locked.get(stage), installed(stage)
        if not isinstance(expected, dict):
            raise ParamsError(f"headrace.lock: no section {stage!r}; `headrace upgrade` writes it")
        if differing := _differences(expected, found):
            said = ", ".join(f"{name} {old}, found {new}" for name, (old, new) in differing.items())
            raise ParamsError(
                f"headrace.lock expects for {stage}: {said}. Install what it says, or let `headrace upgrade` write "
                f"what is installed: then {stage} and the stages after it run again"
            )


def _differences(before: object, after: Versions) -> Differences:
    known: dict[str, Version] = dict(before) if isinstance(before, dict) else {}
    names = {**known, **after}
    return {name: (known.get(name), after.get(name)) for name in names if known.get(name) != after.get(name)}


def _own(stage: str) -> Versions:
    return {
        "numerics": NUMERICS[stage],
        "mixing": mixing_digest(),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def _read(file: Path) -> dict[str, Any]:
    content = read_yaml_file(file)
    return content if isinstance(content, dict) else {}
