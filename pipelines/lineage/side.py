"""One side of a comparison: a registered version, a run, or a git revision of the project."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.nearest_name import nearest
from headrace.pipelines.artifacts.provenance_record import Provenance
from headrace.pipelines.lineage.named_model import named_version, provenance_of, provenance_of_run
from headrace.pipelines.params import Pipeline, list_pipelines
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc_records import locked_stages_of, outputs
from headrace.pipelines.tracking.mlflow_runs import RunState, run_metrics, run_state
from headrace.pipelines.yaml_dialect import read_yaml

_RUN = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"[a-z][a-z0-9_]*(@[\w.-]+|:[0-9]+)")
_NOT_COMPARED = ("name", "description", "results", "schedule")


@dataclass(frozen=True)
class Side:
    """What is known of a version, a run or a revision. Digests are by path or file name."""

    name: str
    pipeline: str
    section: Mapping[str, Any]
    commit: str | None
    changes: str
    raw: Mapping[str, str]
    outputs: Mapping[str, str]
    versions: Mapping[str, Any]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def outcomes_md5(self) -> str | None:
        """DVC's MD5 of the outcomes."""
        return self.outputs.get(f"reports/{self.pipeline}/outcomes.parquet")


def sides(root: Path, one: str, other: str, *, pipeline: str | None) -> tuple[Side, Side]:
    """Both sides; a revision is of the pipeline that is given, else of that of the other side, else of the only one.

    Raises ParamsError for what is no version, run or revision, and DataError for one without a record.
    """
    found = [None if _is_revision(root, text) else _recorded(root, text) for text in (one, other)]
    known = pipeline or next((side.pipeline for side in found if side), None) or _only_pipeline(root)
    left, right = (side or _of_revision(root, text, known) for side, text in zip(found, (one, other), strict=True))
    if left.pipeline != right.pipeline:
        raise ParamsError(f"expected two of one pipeline, found {left.pipeline!r} and {right.pipeline!r}")
    return left, right


def _is_revision(root: Path, text: str) -> bool:
    if _RUN.fullmatch(text) or _VERSION.fullmatch(text):
        return False
    return text not in list_pipelines(ProjectPaths(root).params)


def _only_pipeline(root: Path) -> str:
    names = list_pipelines(ProjectPaths(root).params)
    if len(names) != 1:
        raise ParamsError(f"--pipeline: which of {', '.join(names)}?")
    return names[0]


def _recorded(root: Path, text: str) -> Side:
    return _of_run(root, text) if _RUN.fullmatch(text) else _of_version(root, text)


def _of_version(root: Path, text: str) -> Side:
    named = named_version(root, text)
    provenance = provenance_of(root, named.model, named.version)
    if provenance is None:
        raise DataError(f"{named}: an older Headrace registered it, without a record of its provenance")
    return _side(str(named), provenance, named.version.metrics, named.version.intervals)


def _of_run(root: Path, run_id: str) -> Side:
    match run_state(root, run_id):
        case RunState(status=None):
            raise ParamsError(f"run {run_id} is not in this MLflow")
        case RunState(is_deleted=True):
            raise ParamsError(f"run {run_id} is deleted; `mlflow runs restore --run-id {run_id}` restores it")
    provenance = provenance_of_run(root, run_id)
    if provenance is None:
        raise DataError(f"run {run_id}: an older Headrace trained it, without a record of its provenance")
    logged = run_metrics(root, run_id)
    metrics = {name.removeprefix("test_"): value for name, value in logged.items() if name.startswith("test_")}
    ends = ("_low", "_high")
    intervals = {
        name: (metrics[f"{name}_low"], metrics[f"{name}_high"]) for name in metrics if f"{name}_low" in metrics
    }
    return _side(
        f"run {run_id[:8]}",
        provenance,
        {name: value for name, value in metrics.items() if not name.endswith(ends)},
        intervals,
    )


def _side(
    name: str,
    provenance: Provenance,
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> Side:
    as_they_ran = {stage: record.section for stage, record in provenance.records.items()}
    return Side(
        name=name,
        pipeline=provenance.pipeline,
        # With defaults: a setting that has been added to Headrace since is no difference.
        section=_compared(_with_defaults(provenance.pipeline, {**provenance.section, **as_they_ran})),
        commit=provenance.tree.commit,
        changes=provenance.changes,
        raw={file.name: file.sha256 for file in provenance.raw_files},
        outputs=outputs(provenance.locked),
        versions={stage: record.versions for stage, record in provenance.records.items()},
        metrics=metrics,
        intervals=intervals,
    )


def _of_revision(root: Path, text: str, pipeline: str) -> Side:
    try:
        if text.startswith("-"):
            raise ServiceError("a revision starts with no dash")
        commit = git(root, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}").strip()
    except ServiceError as error:
        names = list_pipelines(ProjectPaths(root).params)
        raise ParamsError(
            f"{text!r}: expected MODEL@ALIAS, MODEL:VERSION, the id of a run, or a git revision of this clone"
            f"{nearest(text, names)}"
        ) from error
    project, paths = ProjectPaths(root), PipelinePaths(root, pipeline)
    params = read_yaml(_at(root, commit, project.params) or "{}", name=f"params.yaml at {text}")
    if pipeline not in params:
        raise ParamsError(f"params.yaml at {text} has no pipeline {pipeline!r}")
    metrics = json.loads(_at(root, commit, paths.metrics) or "{}")
    ingested = json.loads(_at(root, commit, paths.ingest_metrics) or "{}")
    lock = _at(root, commit, project.dvc_lock)
    locked = locked_stages_of(lock, project.dvc, pipeline) if lock else {}
    versions = read_yaml(_at(root, commit, project.lock) or "{}", name=f"headrace.lock at {text}")
    return Side(
        name=text,
        pipeline=pipeline,
        section=_compared(_with_defaults(pipeline, params[pipeline])),
        commit=commit,
        changes="",
        raw={file["name"]: file["sha256"] for file in ingested.get("files", [])},
        outputs=outputs(locked),
        versions=versions if isinstance(versions, dict) else {},
        metrics={name: one for name, one in metrics.items() if isinstance(one, float)},
        intervals={name: (low, high) for name, (low, high) in metrics.get("intervals", {}).items()},
    )


def _with_defaults(pipeline: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section as its settings have it; as it stands where another version of Headrace wrote it."""
    try:
        found = Pipeline.model_validate_json(json.dumps({"name": pipeline, **section}), strict=True)
    except ValueError:
        return section
    return found.model_dump(mode="json", by_alias=True)


def _compared(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in section.items() if name not in _NOT_COMPARED}


def _at(root: Path, commit: str, file: Path) -> str | None:
    """Text of a file at a commit; None where it has none."""
    try:
        return git(root, "show", f"{commit}:./{file.relative_to(root)}")
    except ServiceError:
        return None
