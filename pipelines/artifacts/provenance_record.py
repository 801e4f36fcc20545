"""provenance.json: for each stage of a model, what ran, from which files, by which code, and on which machine."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from headrace.components.errors import DataError
from headrace.components.numerics import NUMERICS
from headrace.components.schema.settings import Settings
from headrace.pipelines.artifacts.artifact import Artifact
from headrace.pipelines.artifacts.ingest_report import FileRecord
from headrace.pipelines.host.machine import Machine
from headrace.pipelines.project.git_tree import Commit, GitTree

FILE_NAME = "provenance.json"
FOLDER = "provenance"  # among the artifacts of a run and of a version


class Changed(Settings):
    """A value of params.yaml that differs from that of the commit; None where one of them has none."""

    committed: Any
    effective: Any


class InitialModel(Settings):
    """What `train.start_from` named, and what that was: a registered version, or a git revision."""

    requested: str
    digest: str  # as the training's identity has it
    model: str | None
    version: int | None  # of `model`
    commit: Commit | None


class StageRecord(Settings):
    """One run of a stage, by the process that ran it."""

    stage: str
    started_at: datetime
    ended_at: datetime
    tree: GitTree
    changes: str  # of the tree, as `git apply --unidiff-zero` takes it; "" within a provenance that has the same
    section: dict[str, Any]  # the effective one of params.yaml, defaults too
    overrides: dict[str, Changed]  # by place in params.yaml
    interval: dict[str, str] | None  # the data interval
    written: dict[str, str]  # SHA-256 of the stage's own small file, by path
    raw_files: tuple[FileRecord, ...]  # that ingest read
    lock_sha256: str | None  # of headrace.lock
    requirements_sha256: str | None  # of requirements.lock
    versions: dict[str, int | str]
    user: str
    machine: Machine
    groups: tuple[dict[str, int], ...]  # of workers of the training, one after the other
    ray_job: str | None
    dag_run: str | None
    experiment: str | None  # git reference of a workspace's results
    initial_model: InitialModel | None

    @property
    def described_groups(self) -> str:
        """The groups of workers in words, "" for a stage that has none."""
        return ", then ".join(
            f"{counted(group['num_workers'], 'worker')} of {counted(group['threads_per_worker'], 'thread')}"
            for group in self.groups
        )


def counted(number: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "worker"), counted(2, "worker")
    ('1 worker', '2 workers')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class _Locked(BaseModel):
    """What is read of a stage's entry in dvc.lock."""

    class Digest(BaseModel):
        """One dependency or output; MD5 of a folder ends in `.dir`, and other kinds have other digests."""

        path: str
        md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}(\.dir)?$")

    deps: list[Digest] = []
    outs: list[Digest] = []


class _Section(BaseModel):
    """What is read of a pipeline's section, whichever version of Headrace wrote it."""

    class Ingest(BaseModel):
        """The settings of ingest."""

        class Typed(BaseModel):
            """A feature or a label."""

            type: str

        class Source(BaseModel):
            """The source of the data."""

            kind: str

        source: Source
        features: dict[str, Typed]
        label: Typed

    class Normalize(BaseModel):
        """The settings of normalize."""

        transforms: dict[str, Any]

    class Train(BaseModel):
        """The settings of train."""

        epochs: int
        global_batch_size: int
        seed: int

    description: str
    ingest: Ingest
    normalize: Normalize
    split: dict[str, Any]
    train: Train
    evaluate: dict[str, Any]
    register_: dict[str, Any] = Field(alias="register")


def _as(shape: type[BaseModel]) -> AfterValidator:
    """Require that a value has the shape, and leave it as it is."""

    def checked(value: dict[str, Any]) -> dict[str, Any]:
        try:
            shape.model_validate(value)
        except ValidationError as error:
            raise ValueError(_problem(error)) from error
        return value

    return AfterValidator(checked)


class Provenance(Artifact):
    """The provenance of a model: a record of each stage, and what DVC and git said when the last of them ended.

    A stage has None for a record where DVC fetched its outputs instead of running it, or where it ran before Headrace
    kept records.
    """

    format_version: Literal[1] = 1
    pipeline: str
    stages: dict[str, StageRecord | None]
    tree: GitTree
    changes: str
    section: Annotated[dict[str, Any], _as(_Section)]
    locked: dict[
        str, Annotated[dict[str, Any], _as(_Locked)]
    ]  # entries of dvc.lock by stage, with MD5 of dependencies and outputs

    @model_validator(mode="after")
    def _require_known_stages(self) -> Self:
        if unknown := self.stages.keys() - NUMERICS.keys():
            raise ValueError(f"no stages: {', '.join(sorted(unknown))}")
        if strange := [one for stage, one in self.records.items() if one.stage != stage]:
            raise ValueError(f"records of other stages: {', '.join(one.stage for one in strange)}")
        return self

    @property
    def raw_files(self) -> tuple[FileRecord, ...]:
        """Files that ingest read."""
        ingest = self.stages.get("ingest")
        return ingest.raw_files if ingest else ()

    @property
    def records(self) -> dict[str, StageRecord]:
        """The records that there are, by stage."""
        return {stage: record for stage, record in self.stages.items() if record}


def parse_provenance(content: bytes, *, of: str) -> Provenance:
    """A provenance from its file's content; raises DataError for one that is damaged, or of another version."""
    try:
        return Provenance.model_validate_json(content)
    except ValidationError as error:
        raise DataError(
            f"{FILE_NAME} of {of} is damaged, or of another version of Headrace: {_problem(error)}; read it with the "
            "version that wrote it"
        ) from error


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")]))


def read_provenance(file: Path) -> Provenance | None:
    """The provenance in a file; None where there is none."""
    return parse_provenance(file.read_bytes(), of=str(file)) if file.is_file() else None
