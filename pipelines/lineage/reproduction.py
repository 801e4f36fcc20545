"""A registered version made again from its record: in a workspace of its own, from the raw data on, and compared.

The workspace is the project at the version's commit, with the changes that were not committed. Raw data comes from
DVC. Workers and threads are those of the training, and MLflow is a store of the workspace's own, so the registry and
its runs stay as they are.
"""

import filecmp
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.files.atomic import replace_file
from headrace.components.files.digests import file_digest
from headrace.pipelines.artifacts.artifact import read_artifact
from headrace.pipelines.artifacts.ingest_report import IngestReport
from headrace.pipelines.artifacts.provenance_record import Provenance, StageRecord
from headrace.pipelines.fetching.source_files import RAW_VARIABLE
from headrace.pipelines.lineage.chain import Link, Subject, chain
from headrace.pipelines.lineage.comparison import Comparison, compare_stages
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.command_lines import dvc as run_dvc
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc_objects import DvcObjects
from headrace.pipelines.project.dvc_records import outputs
from headrace.pipelines.project.stage_graph import dvc_target
from headrace.pipelines.project.workspace import open_workspace, variables_of
from headrace.pipelines.tracking.initial_model import START_VARIABLE, fetch_checkpoint
from headrace.pipelines.tracking.registry import find_number, version_file
from headrace.pipelines.yaml_dialect import Dumper, read_yaml_file

LAST_STAGE = "evaluate"  # what register decides is no function of files
_NEEDED = ("record", "raw", "commit", "changes", "lock", "start_from", "version")


@dataclass(frozen=True)
class Reproduction:
    """What came of making a version again."""

    workspace: Path
    comparison: Comparison
    notes: tuple[str, ...]


def broken_links(subject: Subject, record: list[Link]) -> list[Link]:
    """Links without which the version can't be made again."""
    return [link for link in chain(subject, record) if link.is_broken and link.name in _NEEDED]


@contextmanager
def reproduced(
    subject: Subject,
    *,
    with_changed_code: bool = False,
    keep: Path | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> Iterator[Reproduction]:
    """Make the version again, compare, and yield what came of it; then the workspace goes, unless it is to be kept.

    Code that only the record has runs `with_changed_code` alone. `show` takes the lines that the stages print. Raises
    DataError where a stage fails, or raw data or code is not that of the record, and ServiceError where something can't
    be reached.
    """
    provenance = subject.provenance
    if provenance is None or provenance.tree.commit is None:
        raise DataError(f"{subject.named} has no record that names a commit, so it can't be made again")
    folder = ProjectPaths(subject.root).reproductions
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=f"{provenance.pipeline}-{subject.named.version.number}-") as temporary:
        workspace = open_workspace(subject.root, Path(temporary), name="reproduction", revision=provenance.tree.commit)
        _apply_changes(workspace, subject, provenance, with_changed_code=with_changed_code)
        notes = _prepare(workspace, provenance)
        environment = {**_environment(workspace), **_initial_weights(workspace, subject, provenance)}
        _run_stages(workspace, provenance.pipeline, environment, show)
        yield Reproduction(workspace, _compared(workspace, subject, provenance), tuple(notes))
        if keep is not None:
            shutil.move(workspace, keep)


def _apply_changes(workspace: Path, subject: Subject, provenance: Provenance, *, with_changed_code: bool) -> None:
    """Apply what was not committed; raise DataError for code that neither the project nor its git has.

    The record is the registry's: who may write there could else run code here.
    """
    if not provenance.changes:
        return
    patch = workspace / ".git" / "changes.patch"
    patch.write_bytes(provenance.changes.encode())
    counts = git(workspace, "apply", "--unidiff-zero", "--numstat", "-z", str(patch)).split("\0")
    git(workspace, "apply", "--unidiff-zero", "--whitespace=nowarn", str(patch))
    names = [line.split("\t", 2)[2] for line in counts if line]  # as git read them: the text may say otherwise
    foreign = [name for name in names if not _is_harmless(Path(name), workspace, subject.root)]
    if foreign and not with_changed_code:
        raise DataError(
            f"{subject.named} was trained with changes to {', '.join(foreign)} that this project has not, and that "
            "would run with your rights: `--with-changed-code` runs them, if you trust all who may write to this "
            "registry"
        )


def _is_harmless(file: Path, workspace: Path, root: Path) -> bool:
    """Whether a changed file of the workspace is params.yaml, or as the project has it."""
    changed, ours = workspace / file, root / file
    if changed.is_symlink():
        return False
    is_same = changed.is_file() == ours.is_file() and (not ours.is_file() or filecmp.cmp(changed, ours, shallow=False))
    return is_same or changed == ProjectPaths(workspace).params


def _prepare(workspace: Path, provenance: Provenance) -> list[str]:
    """Put dvc.lock, raw data, workers and threads in place; notes on what can't be as it was."""
    for link in (ProjectPaths(workspace).mlflow_database, ProjectPaths(workspace).mlflow_artifacts):
        link.unlink(missing_ok=True)  # MLflow's store of the project: a workspace of Airflow's has it
    project, paths = ProjectPaths(workspace), PipelinePaths(workspace, provenance.pipeline)
    with project.dvc_lock.open("w", encoding="utf-8") as file:
        yaml.safe_dump({"schema": "2.0", "stages": provenance.locked}, file, sort_keys=False)
    _fetch_raw(paths, provenance)
    notes = _changed_settings(provenance)
    train = provenance.records.get("train")
    if train:
        notes += _fix_group(project, provenance.pipeline, train)
    return notes


def _fetch_raw(paths: PipelinePaths, provenance: Provenance) -> None:
    """Fetch the raw files from DVC, and raise DataError unless they are those that were read."""
    raw = str(paths.raw.relative_to(paths.root))
    if raw not in outputs(provenance.locked):
        raise DataError(f"{raw} was not in dvc.lock, so DVC can't fetch it; `headrace run` runs the stages through DVC")
    run_dvc(paths.root, "pull", "--force", raw)
    for file in provenance.raw_files:
        found = paths.raw / file.name
        if not found.is_file() or file_digest(found) != file.sha256:
            raise DataError(f"{raw}/{file.name}: expected SHA-256 {file.sha256[:12]}, which DVC's object does not have")


def _changed_settings(provenance: Provenance) -> list[str]:
    """Notes on stages that ran with settings which the last of them did not see."""
    return [
        f"{stage} ran with other settings than params.yaml had when the model was registered: "
        f"{', '.join(name for name in record.section if record.section[name] != provenance.section[stage].get(name))}"
        for stage, record in provenance.records.items()
        if {**record.section, "num_workers": None} != {**provenance.section[stage], "num_workers": None}
    ]


def _fix_group(project: ProjectPaths, pipeline: str, train: StageRecord) -> list[str]:
    """Let params.yaml name the workers and threads that trained."""
    if train.section.get("reproducible") == "bitwise" or not train.groups:
        return []  # the weights don't depend on them
    group = {name: train.groups[-1][name] for name in ("num_workers", "threads_per_worker")}
    content = read_yaml_file(project.params)
    section = content[pipeline]
    content[pipeline] = {**section, "train": {**section["train"], **group}}
    with replace_file(project.params) as file:
        file.write_text(yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True), encoding="utf-8")
    if any(one != group for one in train.groups):
        return ["the group changed its size while it trained; it is trained again by the last one alone"]
    return []


def _environment(workspace: Path) -> dict[str, str]:
    """Stages of the workspace: raw data as it is, Ray within the process, MLflow in a file of its own."""
    return {
        **variables_of(workspace),
        RAW_VARIABLE: "as_is",
        "RAY_ADDRESS": "",
        "MLFLOW_TRACKING_URI": "",
        "HEADRACE_OWNER": "",
        "HEADRACE_REQUIRE_CLEAN": "",
    }


def _initial_weights(workspace: Path, subject: Subject, provenance: Provenance) -> dict[str, str]:
    """The variable that names what the training started from: aliases and branches have moved since."""
    train = provenance.records.get("train")
    start = train.initial_model if train else None
    if start is None:
        return {}
    if start.model is None:
        found = fetch_checkpoint(start.commit or start.requested, PipelinePaths(workspace, provenance.pipeline))
        return {START_VARIABLE: str(found)}
    version = find_number(subject.root, start.model, start.version or 0)
    if version is None:
        raise ParamsError(f"{start.requested} was version {start.version} of {start.model!r}, which is not registered")
    return {START_VARIABLE: str(version_file(subject.root, start.model, version))}


def _run_stages(workspace: Path, pipeline: str, environment: Mapping[str, str], show: Callable[[str], None]) -> None:
    target = dvc_target(ProjectPaths(workspace).dvc, LAST_STAGE, pipeline=pipeline)
    lines: list[str] = []
    with dvc.repro(workspace, target, pipeline=pipeline, force=True, extra=environment) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            show(lines[-1])
        code = process.wait()
    if code != 0:
        reason = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
        raise DataError(f"a stage failed while the version was made again: {reason or lines[-1:]}")


def _compared(workspace: Path, subject: Subject, provenance: Provenance) -> Comparison:
    made = PipelinePaths(workspace, provenance.pipeline)
    report = read_artifact(made.ingest_metrics, IngestReport, command="headrace ingest")
    with TemporaryDirectory() as temporary:
        original = Path(temporary) / "outcomes.parquet"
        md5 = outputs(provenance.locked).get(f"reports/{provenance.pipeline}/outcomes.parquet")
        with suppress(ServiceError), DvcObjects.of(subject.root) as objects:
            if md5 is not None:
                objects.fetch(md5, original)
        return compare_stages(
            made,
            provenance,
            version=subject.named.version,
            raw={file.name: file.sha256 for file in report.files},
            model=version_file(subject.root, subject.named.model, subject.named.version),
            outcomes=original if original.is_file() else None,
        )
