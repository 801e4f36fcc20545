"""What differs between two versions, runs or revisions: data, params, code, packages, and metrics with an interval."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from headrace.components.errors import DataError, ServiceError
from headrace.components.evaluation.paired import difference as paired_difference
from headrace.components.files.tables import read_file
from headrace.components.schema.labels import Label
from headrace.components.schema.settings import Settings
from headrace.components.tasks.task import Task
from headrace.components.tasks.variants import task_of
from headrace.pipelines.lineage.side import Side
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc_objects import DvcObjects

PARTS = ("data", "params", "code", "packages", "metrics")
CONFIDENCE = 0.95
_MOST_FILES = 20
_NONE = "none"


class Entry(Settings):
    """One thing that differs: its name, what both sides have, and for a metric how sure the difference is."""

    part: str
    name: str
    before: str
    after: str
    note: str = ""


def differences(root: Path, one: Side, other: Side) -> list[Entry]:
    """All that differs, by part; what both have equal is left out, but for metrics."""
    found = [*_data(one, other), *_params(one, other), *_code(root, one, other), *_packages(one, other)]
    return [*found, *_metrics(root, one, other)]


def _data(one: Side, other: Side) -> Iterator[Entry]:
    yield from _differing("data", one.raw, other.raw, what="raw file ", shown=lambda text: text[:12])
    folders = [f"data/{one.pipeline}/{name}" for name in ("examples", "normalized", "splits")]
    before, after = ({path: side.outputs[path] for path in folders if path in side.outputs} for side in (one, other))
    yield from _differing("data", before, after, shown=lambda text: text[:12])


def _params(one: Side, other: Side) -> Iterator[Entry]:
    yield from _differing("params", dict(_leaves(one.section)), dict(_leaves(other.section)))


def _code(root: Path, one: Side, other: Side) -> Iterator[Entry]:
    if one.commit != other.commit:
        yield Entry(part="code", name="commit", before=(one.commit or _NONE)[:12], after=(other.commit or _NONE)[:12])
        yield from _changed_files(root, one, other)
    if one.changes != other.changes:
        before, after = (f"{len(side.changes.splitlines())} lines" if side.changes else _NONE for side in (one, other))
        yield Entry(part="code", name="changes that were not committed", before=before, after=after)


def _changed_files(root: Path, one: Side, other: Side) -> Iterator[Entry]:
    if not (one.commit and other.commit):
        return
    try:
        found = git(root, "diff", "--name-only", "-z", one.commit, other.commit, "--", ".", ":(exclude)dvc.lock")
    except ServiceError:
        yield Entry(part="code", name="files", before="", after="", note="one of the commits is not in this clone")
        return
    files = [path for path in found.split("\0") if path and not path.startswith("reports/")]
    for path in files[:_MOST_FILES]:
        yield Entry(part="code", name=path, before="", after="", note="changed")
    if len(files) > _MOST_FILES:
        yield Entry(part="code", name=f"{len(files) - _MOST_FILES} more files", before="", after="", note="changed")


def _packages(one: Side, other: Side) -> Iterator[Entry]:
    before, after = (_versions(side.versions) for side in (one, other))
    yield from _differing("packages", before, after)


def _versions(by_stage: Mapping[str, Any]) -> dict[str, str]:
    """Versions by package, and those of numerics by stage."""
    found = {}
    for stage, versions in by_stage.items():
        for name, version in versions.items() if isinstance(versions, dict) else ():
            found[f"numerics of {stage}" if name == "numerics" else name] = str(version)
    return found


def _metrics(root: Path, one: Side, other: Side) -> Iterator[Entry]:
    with TemporaryDirectory() as temporary:
        outcomes = _outcomes(root, one, other, Path(temporary))
        task = _task(other.section)
        for name in sorted({*one.metrics, *other.metrics}):
            before, after = one.metrics.get(name), other.metrics.get(name)
            note = ""
            if before is not None and after is not None:
                note = _interval(task, name, outcomes) if task else ""
                note = note or f"{after - before:+.3g}, no interval: {_why_none(outcomes)}"
            yield Entry(part="metrics", name=name, before=_number(before), after=_number(after), note=note)


def _interval(task: Task, name: str, outcomes: tuple[pl.DataFrame, pl.DataFrame] | str) -> str:
    if isinstance(outcomes, str):
        return ""
    theirs, ours = outcomes
    found = paired_difference(task, ours, theirs, name, confidence=CONFIDENCE)
    return "" if found is None else str(found).removeprefix(f"{name} ")


def _why_none(outcomes: tuple[pl.DataFrame, pl.DataFrame] | str) -> str:
    return outcomes if isinstance(outcomes, str) else "it is no metric of single rows"


def _outcomes(root: Path, one: Side, other: Side, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame] | str:
    """Outcomes of both sides on the rows that both were measured on; a text says why there are none."""
    files = [folder / "before.parquet", folder / "after.parquet"]
    try:
        with DvcObjects.of(root) as objects:
            for side, file in zip((one, other), files, strict=True):
                if side.outcomes_md5 is None or not objects.fetch(side.outcomes_md5, file):
                    return f"DVC has no outcomes of {side.name}"
    except (ServiceError, DataError) as error:
        return str(error)
    left, right = map(read_file, files)
    common = left["example_id"].filter(left["example_id"].is_in(right["example_id"].implode()))
    if common.is_empty():
        return "they were measured on other rows"
    left, right = (
        table.filter(pl.col("example_id").is_in(common.implode())).sort("example_id") for table in (left, right)
    )
    if left.columns != right.columns or not left["example_id"].equals(right["example_id"]):
        return "their outcomes have other columns"
    return left, right


def _task(section: Mapping[str, Any]) -> Task | None:
    try:
        label: Label = TypeAdapter(Label).validate_python(section["ingest"]["label"])
    except (ValueError, KeyError):
        return None
    return task_of(label)


def _differing(
    part: str, before: Mapping[str, Any], after: Mapping[str, Any], *, what: str = "", shown: Any = str
) -> Iterator[Entry]:
    for name in [*before, *(name for name in after if name not in before)]:
        sides = [shown(side[name]) if name in side else _NONE for side in (before, after)]
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            yield Entry(part=part, name=f"{what}{name}", before=sides[0], after=sides[1])


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a section by its dotted place."""
    match value:
        case dict() if value:
            for name, one in value.items():
                yield from _leaves(one, f"{place}.{name}" if place else name)
        case list() if any(isinstance(one, dict | list) for one in value):
            for number, one in enumerate(value):
                yield from _leaves(one, f"{place}.{number}")
        case _:
            yield place, value


def _number(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.6g}"
