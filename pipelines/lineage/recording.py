"""What a stage ran on, recorded as it ran, and gathered for the run and the version.

The records are no outputs of DVC: equal runs at two times, on two machines, have equal outputs and two records. They
are in `.headrace/provenance/`, named by what the stage wrote and by its settings, so that outputs which DVC restores
find the record of the run that made them.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.files.atomic import replace_file
from headrace.components.files.digests import file_digest
from headrace.components.files.records import read_record
from headrace.components.numerics import NUMERICS
from headrace.components.redaction import redacted
from headrace.pipelines.artifacts.artifact import read_artifact, write_artifact
from headrace.pipelines.artifacts.ingest_report import FileRecord, IngestReport
from headrace.pipelines.artifacts.provenance_record import (
    FILE_NAME,
    FOLDER,
    Changed,
    InitialModel,
    Provenance,
    StageRecord,
    read_provenance,
)
from headrace.pipelines.artifacts.registration import RegistrationFile
from headrace.pipelines.artifacts.run_record import RunFile, read_run
from headrace.pipelines.headrace_lock import installed
from headrace.pipelines.host.machine import this_machine
from headrace.pipelines.host.user import user_name
from headrace.pipelines.lineage.model_card import write_cards
from headrace.pipelines.lineage.named_model import provenance_of
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.code_digests import own_code, source_code, transform_code
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc_records import locked_stages
from headrace.pipelines.project.git_tree import GitTree, Status, changes_of, git_status, require_clean
from headrace.pipelines.project.workspace import experiment_of, is_workspace
from headrace.pipelines.remote_training.handoff import OWNER_VARIABLE, is_in_job
from headrace.pipelines.run_overrides import leaves
from headrace.pipelines.tracking.initial_model import resolved_start
from headrace.pipelines.tracking.mlflow_runs import add_params, add_to_run
from headrace.pipelines.tracking.registry import find_number, tag_version
from headrace.pipelines.tracking.version_files import add_version_files
from headrace.pipelines.yaml_dialect import read_yaml

log = structlog.get_logger()

# The small file of each stage that differs wherever its outputs do; it names the record.
_WRITTEN = {
    "ingest": "ingest_metrics",
    "normalize": "statistics",
    "split": "manifest",
    "train": "run",
    "evaluate": "metrics",
    "register": "registration",
}


@contextmanager
def recorded(stage: str, pipeline: Pipeline, paths: PipelinePaths) -> Iterator[None]:
    """Record the run of a stage that is the block; nothing is recorded of one that fails, or keeps what is there.

    Raises ParamsError before the block where HEADRACE_REQUIRE_CLEAN is set and the tree has changes. In a Ray job,
    whose folder is in no git, the submitter records.
    """
    if is_in_job():
        yield
        return
    started_at, files = datetime.now(UTC), _own_files(pipeline, paths.root)
    status = git_status(paths.root)
    project = ProjectPaths(paths.root)
    may_change = [project.params.name] if is_workspace(paths.root) else []  # recorded as overrides
    require_clean(status, own_files=files, may_change=may_change)
    changes, left_out = changes_of(paths.root, status, own_files=files)  # before hours in which files may change
    written: Path = getattr(paths, _WRITTEN[stage])
    before = _state(written)
    yield
    if _state(written) == before:
        return
    run = _run(paths) if stage == "train" else None
    record = StageRecord(
        stage=stage,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        tree=_tree(status.tree, changes, left_out),
        changes=changes,
        section=_section(pipeline)[stage],
        overrides=_overrides(pipeline, paths, status),
        interval=_interval(pipeline),
        written={str(written.relative_to(paths.root)): file_digest(written)},
        raw_files=_raw_files(paths) if stage == "ingest" else (),
        lock_sha256=_digest(project.lock),
        requirements_sha256=_digest(project.requirements),
        versions=installed(stage),
        user=user_name(),
        machine=this_machine(),
        groups=run.groups if run else (),
        ray_job=run.ray_job_id if run and run.ray_job_id != "embedded" else None,
        dag_run=os.environ.get(OWNER_VARIABLE),
        experiment=experiment_of(paths.root),
        initial_model=_initial_model(pipeline, paths, run),
    )
    _write(_record_file(paths, pipeline, stage), record.model_dump_json(indent=1))
    if stage in ("train", "evaluate", "register"):
        keep(stage, pipeline, paths)


def keep(stage: str, pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Keep the provenance so far with the MLflow run, and after `register` with the version, with its card.

    Where MLflow is away, the log says so: the stage has done its work.
    """
    run, file = _run(paths), gather(stage, pipeline, paths)
    if run is None:
        return
    if stage != "register":
        if run.mlflow_run_id:
            _keep_with_run(stage, pipeline, paths, run.mlflow_run_id, file)
        return
    registration = read_artifact(paths.registration, RegistrationFile, command=f"headrace register {paths.pipeline}")
    _keep_with_run(stage, pipeline, paths, registration.mlflow_run_id, file)
    try:
        _keep_with_version(paths, registration.version, file)
    except ServiceError as error:
        log.warning("not with the version", left_out=FOLDER, reason=str(error))


def _keep_with_run(stage: str, pipeline: Pipeline, paths: PipelinePaths, run_id: str, file: Path) -> None:
    """Keep it with the run; the params of a stage after `train` may be others than when the run was opened."""
    if add_to_run(paths.root, run_id, metrics={}, artifacts=[file], artifact_path=FOLDER) and stage != "train":
        with suppress(ServiceError):  # which was there a moment ago
            add_params(paths.root, run_id, {stage: _section(pipeline)[stage]})


def _keep_with_version(paths: PipelinePaths, number: int, file: Path) -> None:
    version = find_number(paths.root, paths.pipeline, number)
    if version is None:
        return
    found, before = read_provenance(file), provenance_of(paths.root, paths.pipeline, version)
    if found is None or (before is not None and len(found.records) < len(before.records)):
        return  # registered again, where fewer stages have run
    files = [file, *write_cards(paths, version, found)]
    add_version_files(paths.root, paths.pipeline, version, files, folder=FOLDER)
    tags = {"provenance_sha256": file_digest(file)}
    train = found.records.get("train")
    if train and (start := train.initial_model) and start.version:
        tags["started_from"] = f"{start.model}:{start.version}"
    tag_version(paths.root, paths.pipeline, number, tags)


def gather(stage: str, pipeline: Pipeline, paths: PipelinePaths) -> Path:
    """Write the provenance of what is in the artifact tree now that a stage has run, and return its file.

    In dvc.lock, entries of this stage and of those after it are of an earlier run.
    """
    stages = list(NUMERICS)
    records = {one: _record_of(paths, pipeline, one) for one in stages[: stages.index(stage) + 1]}
    last = records[stage]
    tree, changes = (last.tree, last.changes) if last else _tree_now(paths.root, _own_files(pipeline, paths.root))
    gathered = Provenance(
        pipeline=pipeline.name,
        stages={one: _without_changes(record, tree) for one, record in records.items()},
        tree=tree,
        changes=changes,
        section=_section(pipeline),
        locked=locked_stages(paths.root, pipeline.name, before=stage),
    )
    file = paths.provenance / FILE_NAME
    write_artifact(file, gathered)
    return file


def _without_changes(record: StageRecord | None, tree: GitTree) -> StageRecord | None:
    """A record without the diff where that is the one of the whole provenance."""
    if record is None or record.tree.changes_sha256 != tree.changes_sha256:
        return record
    return record.model_copy(update={"changes": ""})


def _tree_now(root: Path, files: list[str]) -> tuple[GitTree, str]:
    status = git_status(root)
    changes, left_out = changes_of(root, status, own_files=files)
    return _tree(status.tree, changes, left_out), changes


def _record_of(paths: PipelinePaths, pipeline: Pipeline, stage: str) -> StageRecord | None:
    """The record of the run that made the stage's present outputs by its present settings."""
    if not getattr(paths, _WRITTEN[stage]).is_file():
        return None
    file = _record_file(paths, pipeline, stage)
    return read_record(file, StageRecord.model_validate_json, lost="the stage has no record until it runs again")


def _record_file(paths: PipelinePaths, pipeline: Pipeline, stage: str) -> Path:
    written: Path = getattr(paths, _WRITTEN[stage])
    # run.json names its training; other stages may write equal files by other settings.
    settings = "" if stage == "train" else json.dumps(_section(pipeline)[stage], sort_keys=True)
    name = hashlib.sha256(f"{file_digest(written)} {settings}".encode()).hexdigest()[:16]
    return paths.provenance / f"{stage}-{name}.json"


def _section(pipeline: Pipeline) -> dict[str, Any]:
    """The pipeline's section with all defaults, as JSON holds it, without secrets of addresses."""
    section: dict[str, Any] = _without_secrets(pipeline.model_dump(mode="json", by_alias=True))
    return section


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_secrets(one) for name, one in value.items()}
        case list():
            return [_without_secrets(one) for one in value]
        case str():
            return redacted(value)
    return value


def _tree(tree: GitTree, changes: str, left_out: tuple[Any, ...]) -> GitTree:
    digest = hashlib.sha256(changes.encode()).hexdigest() if changes else None
    return tree.model_copy(update={"changes_sha256": digest, "left_out": left_out})


def _overrides(pipeline: Pipeline, paths: PipelinePaths, status: Status) -> dict[str, Changed]:
    """Values of the pipeline's section that differ from those of the commit, by place."""
    params = ProjectPaths(paths.root).params.name
    if status.tree.commit is None or params not in status.changed:
        return {}
    try:
        content = read_yaml(git(paths.root, "show", f"HEAD:./{params}"), name=params)
        committed = Pipeline.model_validate_json(json.dumps({"name": pipeline.name, **content[pipeline.name]}))
    except (
        ServiceError,
        ParamsError,
        KeyError,
        TypeError,
        ValueError,
    ):  # the commit has no such pipeline, or a bad one
        return {}
    before = {leaf.place: leaf.value for leaf in leaves(committed)}
    after = {leaf.place: leaf.value for leaf in leaves(pipeline)}
    return {
        place: Changed(committed=_plain(before.get(place)), effective=_plain(after.get(place)))
        for place in [*after, *(place for place in before if place not in after)]
        if before.get(place) != after.get(place)
    }


def _plain(value: Any) -> Any:
    return _without_secrets(value) if isinstance(value, bool | int | float | str | None) else str(value)


def _interval(pipeline: Pipeline) -> dict[str, str] | None:
    interval = _section(pipeline)["ingest"]["source"].get("interval")
    return {end: str(value) for end, value in interval.items()} if isinstance(interval, Mapping) else None


def _own_files(pipeline: Pipeline, root: Path) -> list[str]:
    """Code and queries that the pipeline names, by their paths in the project."""
    files = {file for code in (source_code, transform_code, own_code) for file in code(root, pipeline).sources}
    query = getattr(pipeline.ingest.source, "query", None)
    return sorted({*files, *([query] if isinstance(query, str) and query.endswith(".sql") else [])})


def _raw_files(paths: PipelinePaths) -> tuple[FileRecord, ...]:
    report = read_artifact(paths.ingest_metrics, IngestReport, command=f"headrace ingest {paths.pipeline}")
    return report.files


def _run(paths: PipelinePaths) -> RunFile | None:
    with suppress(DataError):
        return read_run(paths)
    return None


def _initial_model(pipeline: Pipeline, paths: PipelinePaths, run: RunFile | None) -> InitialModel | None:
    requested = pipeline.train.start_from
    if requested is None or run is None:
        return None
    digest = str(run.identity["start_weights"])
    return InitialModel(requested=requested, digest=digest, **resolved_start(requested, digest, paths)._asdict())


def _state(file: Path) -> tuple[int, int] | None:
    """Inode and time of a file, which another one in its place has not."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _digest(file: Path) -> str | None:
    return file_digest(file) if file.is_file() else None


def _write(file: Path, text: str) -> None:
    with replace_file(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
