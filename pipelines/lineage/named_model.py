"""Which version, run or revision a user names: MODEL, MODEL@ALIAS, MODEL:VERSION."""

import re
from pathlib import Path
from typing import NamedTuple

from headrace.components.errors import ParamsError
from headrace.components.nearest_name import nearest
from headrace.pipelines.artifacts.provenance_record import FILE_NAME, FOLDER, Provenance, parse_provenance
from headrace.pipelines.params import list_pipelines
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking.registry import CHAMPION, Version, alias_version, aliases, versions
from headrace.pipelines.tracking.server import address_of, connect
from headrace.pipelines.tracking.version_files import read_run_file, read_version_file

_NAME = re.compile(r"(?P<model>[a-z][a-z0-9_]*)(?:@(?P<alias>[\w.-]+)|:(?P<number>[1-9][0-9]{0,8}))?")


class NamedVersion(NamedTuple):
    """A registered version, by the name of its model."""

    model: str
    version: Version

    def __str__(self) -> str:
        return f"{self.model}:{self.version.number}"


def named_version(root: Path, text: str) -> NamedVersion:
    """The version that `MODEL@ALIAS` or `MODEL:VERSION` names, MODEL alone its champion.

    Raises ParamsError for any other text, and where there is no such version, with those that there are.
    """
    found = _NAME.fullmatch(text)
    if not found:
        raise ParamsError(
            f"{text!r}: expected MODEL, MODEL@ALIAS or MODEL:VERSION, such as digits@champion or digits:3"
        )
    model, number = found["model"], found["number"]
    there = {one.number: one for one in versions(root, model)}
    if not there:
        known = list_pipelines(ProjectPaths(root).params)
        raise ParamsError(
            f"MLflow at {address_of(connect(root).tracking_uri)} has no version of {model!r}"
            f"{'' if model in known else nearest(model, known)}; `headrace run {model}` registers one"
        )
    if number is not None:
        if int(number) not in there:
            raise ParamsError(f"no version {number} of {model!r}; there are: {', '.join(map(str, sorted(there)))}")
        return NamedVersion(model, there[int(number)])
    version = alias_version(root, model, found["alias"] or CHAMPION)
    if version is None:
        held = [f"{model}@{alias}" for alias in sorted(aliases(root, model))]
        others = [f"{model}:{one}" for one in sorted(there)]
        raise ParamsError(f"no {model}@{found['alias'] or CHAMPION}; there are: {', '.join(held + others)}")
    return NamedVersion(model, version)


def provenance_of(root: Path, model: str, version: Version) -> Provenance | None:
    """The provenance that is kept with a version; None of one that was registered before there was such a record."""
    content = read_version_file(root, model, version, f"{FOLDER}/{FILE_NAME}")
    return parse_provenance(content, of=f"{model}:{version.number}") if content is not None else None


def provenance_of_run(root: Path, run_id: str) -> Provenance | None:
    """The provenance that is kept with a run; None where there is none."""
    content = read_run_file(root, run_id, f"{FOLDER}/{FILE_NAME}")
    return parse_provenance(content, of=f"run {run_id}") if content is not None else None
