"""The chain from raw file to prediction of a registered version, each link checked where it can be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.components.errors import DataError, ServiceError, StoreError
from headrace.components.files.digests import file_digest
from headrace.components.schema.settings import Settings
from headrace.pipelines.artifacts.provenance_record import FILE_NAME, Provenance
from headrace.pipelines.headrace_lock import installed
from headrace.pipelines.lineage.named_model import NamedVersion, provenance_of
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc_objects import DvcObjects
from headrace.pipelines.project.dvc_records import outputs
from headrace.pipelines.tracking.mlflow_runs import RunState, run_state
from headrace.pipelines.tracking.prediction_journal import predictions_of_version
from headrace.pipelines.tracking.registry import Version, aliases, version_file, versions

State = Literal["ok", "missing", "differs", "unknown"]

_OUTPUTS = ("raw", "examples", "normalized", "splits", "model", "outcomes")


class Link(Settings):
    """One link: what it is, what was found, and what to do where it is not as it was."""

    name: str
    found: str
    state: State
    remedy: str = ""
    is_downstream: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether a link on the way to the model is not as it was."""
        return self.state in ("missing", "differs") and not self.is_downstream


@dataclass(frozen=True)
class Subject:
    """The version whose chain is checked, and what is known of it."""

    root: Path
    named: NamedVersion
    provenance: Provenance | None

    @property
    def paths(self) -> PipelinePaths:
        """The artifact tree of its pipeline."""
        return PipelinePaths(self.root, self.named.model)


def subject_of(root: Path, named: NamedVersion) -> tuple[Subject, list[Link]]:
    """The version with its provenance, and a link of the latter."""
    try:
        found = provenance_of(root, named.model, named.version)
    except DataError as error:
        return Subject(root, named, None), [Link(name="record", found=str(error), state="differs")]
    if found is None:
        again = f"`headrace register {named.model}` registers the model of the last training with one"
        none = "an older Headrace registered it, without a record of its provenance"
        return Subject(root, named, None), [Link(name="record", found=none, state="missing", remedy=again)]
    if found.pipeline != named.model:
        other = f"{FILE_NAME} is of pipeline {found.pipeline!r}, expected {named.model!r}"
        return Subject(root, named, None), [Link(name="record", found=other, state="differs")]
    stages = f"of {', '.join(found.records) or 'no stage'}"
    return Subject(root, named, found), [Link(name="record", found=stages, state="ok")]


def chain(subject: Subject, record: Sequence[Link]) -> list[Link]:
    """All links, from the raw files to predictions; none of them is changed or fetched."""
    upstream = [*record]
    if subject.provenance is not None:
        upstream = [
            *_raw_files(subject.provenance),
            *_data(subject.root, subject.provenance, subject.named.version),
            *upstream,
            *_stages(subject.provenance),
            *_code(subject.root, subject.provenance),
            *_versions(subject.provenance),
            *_initial_model(subject.root, subject.provenance),
            *_jobs(subject.root, subject.provenance),
        ]
    return [*upstream, _run(subject), _model(subject), *_aliases(subject), *_downstream(subject)]


def _raw_files(provenance: Provenance) -> Iterator[Link]:
    source = provenance.section["ingest"]["source"]
    if not provenance.raw_files:
        yield Link(
            name="raw files", found=f"source of kind {source['kind']}, no record of what was read", state="unknown"
        )
    for file in provenance.raw_files:
        version = f", version {file.version}" if file.version else ""
        found = f"{file.name}, {file.bytes:,} bytes, SHA-256 {file.sha256[:12]}{version}"
        yield Link(name="raw file", found=found, state="ok")


def _data(root: Path, provenance: Provenance, version: Version) -> Iterator[Link]:
    """What DVC kept; a remote that can't be reached makes all of it unknown."""
    try:
        with DvcObjects.of(root) as objects:
            yield from [_output(name, objects, root, provenance, version) for name in _OUTPUTS]
    except ServiceError as error:
        yield Link(name="data", found=str(error), state="unknown")


def _output(name: str, objects: DvcObjects, root: Path, provenance: Provenance, version: Version) -> Link:
    path = str(getattr(PipelinePaths(root, provenance.pipeline), name).relative_to(root))
    md5 = outputs(provenance.locked).get(path)
    by_dvc = f"`headrace run {provenance.pipeline}` runs the stages through DVC"
    if md5 is None:
        return Link(name=name, found=f"{path} was not in dvc.lock", state="missing", remedy=by_dvc)
    if name == "model" and md5 != version.tags.get("model_md5"):
        found = f"dvc.lock named another model, MD5 {md5[:12]}: this one was trained outside of DVC"
        return Link(name=name, found=found, state="differs", remedy=by_dvc)
    presence = objects.presence(md5)
    found = f"{path}, MD5 {md5[:12]}, {presence}"
    if not presence.missing:
        return Link(name=name, found=found, state="ok")
    push = "`dvc push` where it was made"
    return Link(name=name, found=found, state="missing", remedy=push)


def _stages(provenance: Provenance) -> Iterator[Link]:
    for stage, record in provenance.stages.items():
        if record is None:
            none = "DVC fetched what an earlier run of it made, or it ran before there were records"
            yield Link(name=stage, found=none, state="unknown")
            continue
        expected, present = ({**one, "num_workers": None} for one in (record.section, provenance.section[stage]))
        found = f"{record.ended_at:%Y-%m-%d %H:%M} by {record.user} on {record.machine.host}"
        if record.groups:
            found += f", {record.described_groups}"
        changed = [name for name in expected if expected[name] != present.get(name)]
        if changed:
            found += f"; ran with other settings than were there at the end: {', '.join(changed)}"
        yield Link(name=stage, found=found, state="differs" if changed else "ok")


def _code(root: Path, provenance: Provenance) -> Iterator[Link]:
    tree = provenance.tree
    if tree.commit is None:
        yield Link(name="commit", found="none: the project was in no git, or had no commit", state="missing")
        return
    where = " of ".join(filter(None, [tree.branch, tree.remote]))
    found = f"{tree.commit[:12]}{f' on {where}' if where else ''}"
    is_there = has_commit(root, tree.commit)
    remedy = "" if is_there else f"`git fetch origin {tree.commit}`, or push it from where it was made"
    yield Link(name="commit", found=found, state="ok" if is_there else "missing", remedy=remedy)
    if provenance.changes:
        lines = sum(line.startswith(("+", "-")) for line in provenance.changes.splitlines())
        found = f"{lines} lines that were not committed, kept with the version: {', '.join(changed_files(provenance))}"
        yield Link(name="changes", found=found, state="ok")
    for one in tree.left_out:
        if one.path:
            found = f"of {one.path} are not kept: {one.why}"
            yield Link(name="changes", found=found, state="missing", remedy="commit it before training")
        else:
            yield Link(name="other files", found=one.why, state="unknown")


def changed_files(provenance: Provenance) -> list[str]:
    """Files whose text differed from the commit."""
    heads = (line for line in provenance.changes.splitlines() if line.startswith("diff --git "))
    return [head.rpartition(" b/")[2].rstrip('"') for head in heads]


def has_commit(root: Path, commit: str) -> bool:
    """Whether the project's git has a commit."""
    try:
        git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except ServiceError:
        return False
    return True


def _versions(provenance: Provenance) -> Iterator[Link]:
    differing = differing_versions(provenance)
    known = {name: one for record in provenance.records.values() for name, one in record.versions.items()}
    shown = ", ".join(f"{name} {known[name]}" for name in ("python", "tensorflow", "keras", "numpy") if name in known)
    if differing:
        found = "; ".join(f"{name} {before}, here {now}" for name, (before, now) in differing.items())
        yield Link(name="lock", found=found, state="differs", remedy="install what headrace.lock says at that commit")
    else:
        yield Link(name="lock", found=f"the versions are those installed here: {shown}", state="ok")


def differing_versions(provenance: Provenance) -> dict[str, tuple[object, object]]:
    """Versions that decide outputs and are other ones here, as then and now, by name."""
    found: dict[str, tuple[object, object]] = {}
    for stage, record in provenance.records.items():
        here = installed(stage)
        for name in {**record.versions, **here}:
            if record.versions.get(name) != here.get(name):
                key = f"{stage}'s numerics" if name == "numerics" else name
                found[key] = (record.versions.get(name), here.get(name))
    return found


def _initial_model(root: Path, provenance: Provenance) -> Iterator[Link]:
    train = provenance.records.get("train")
    start = train.initial_model if train else None
    if start is None:
        return
    if start.model is not None:
        there = {one.number for one in versions(root, start.model)}
        found = f"{start.requested}, which was {start.model}:{start.version or 'unknown'}"
        state: State = "ok" if start.version in there else "missing"
    else:
        found = f"{start.requested}, which was commit {(start.commit or 'unknown')[:12]}"
        state = "ok" if start.commit and has_commit(root, start.commit) else "missing"
    yield Link(name="start_from", found=found, state=state)


def _jobs(root: Path, provenance: Provenance) -> Iterator[Link]:
    """What ran it. Only the experiment can be looked up, and one that was removed is missed by nothing."""
    records = provenance.records.values()
    for name, field in {"Ray job": "ray_job", "DAG run": "dag_run", "experiment": "experiment"}.items():
        for value in dict.fromkeys(filter(None, (getattr(record, field) for record in records))):
            is_there = field == "experiment" and _has_reference(root, value)
            yield Link(name=name, found=str(value), state="ok" if is_there else "unknown")


def _has_reference(root: Path, reference: str) -> bool:
    try:
        git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", reference)
    except ServiceError:
        return False
    return True


def _run(subject: Subject) -> Link:
    run_id = subject.named.version.run_id
    match run_state(subject.root, run_id):
        case RunState(status=None):
            return Link(name="run", found=f"{run_id} is not in this MLflow", state="missing")
        case RunState(is_deleted=True):
            back = f"`mlflow runs restore --run-id {run_id}`"
            return Link(name="run", found=f"{run_id} is deleted", state="missing", remedy=back)
        case RunState(status=status):
            return Link(name="run", found=f"{run_id}, {status}", state="ok")


def _model(subject: Subject) -> Link:
    model, version = subject.named
    try:
        version_file(subject.root, model, version)
    except StoreError as error:
        return Link(name="version", found=str(error), state="missing")
    except DataError as error:
        return Link(name="version", found=str(error), state="differs")
    weights = version.tags.get("weights_digest", "unknown")
    return Link(name="version", found=f"{subject.named}, weights {weights[:12]}, as it was registered", state="ok")


def _aliases(subject: Subject) -> Iterator[Link]:
    held = [
        name for name, one in aliases(subject.root, subject.named.model).items() if one == subject.named.version.number
    ]
    for alias in sorted(held):
        yield Link(name="alias", found=f"{subject.named.model}@{alias}", state="ok", is_downstream=True)


def _downstream(subject: Subject) -> Iterator[Link]:
    model, version = subject.named
    for other in versions(subject.root, model):
        if other.tags.get("started_from") == str(subject.named):
            found = f"{model}:{other.number} was trained from it"
            yield Link(name="version", found=found, state="ok", is_downstream=True)
    for made in predictions_of_version(subject.root, model, version.number):
        file = Path(made.output)
        state: State = "ok"
        if not file.is_file():
            state = "missing"
        elif file_digest(file) != made.output_sha256:
            state = "differs"
        found = f"{file.name}, {made.rows:,} rows of {Path(made.input).name}, {made.time[:16].replace('T', ' ')}"
        yield Link(name="predictions", found=found, state=state, is_downstream=True)
