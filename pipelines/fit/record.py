"""fit.json: what a folder's training is made from, and what came of it."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from headrace.components.errors import DataError, ParamsError
from headrace.components.files.digests import file_digest
from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.artifacts.artifact import Artifact, read_artifact, write_artifact
from headrace.pipelines.fit.given_splits import GivenSplit, split_digest
from headrace.pipelines.host.private import make_private
from headrace.pipelines.paths import ProjectPaths, project_root
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.result_files import CHECKPOINT, CHECKPOINTS, HISTORY, MODEL, TENSORBOARD
from headrace.pipelines.remote_training.handoff import git_state, owner
from headrace.pipelines.remote_training.provenance import deciding_settings
from headrace.pipelines.tracking.training_run import forget

RECORD, LOCK = "fit.json", ".fit.lock"
STATE, DATA, TRAINING = ".fit", "data", "training"  # what a training needs until it is done
RESULTS = (MODEL, CHECKPOINT, CHECKPOINTS, TENSORBOARD, HISTORY)
DIGESTED = (MODEL, HISTORY)


class FitRecord(Artifact):
    """fit.json: what a folder's training is made from, and, once it is done, what came of it."""

    format_version: Literal[1] = 1
    run_name: str
    identity: dict[str, Any]
    git_commit: str
    git_dirty: bool | None
    owner: str
    started_at: datetime
    mlflow_run_id: str | None = None
    trained_at: datetime | None = None
    groups: tuple[dict[str, int], ...] = ()
    files: dict[str, str] = Field(default_factory=dict)  # SHA-256 of model and history


def identity_of(job: FitJob, splits: Mapping[str, GivenSplit]) -> dict[str, Any]:
    """Everything that decides the weights of a training; code and data are there by their SHA-256."""
    return {
        "versions": job.versions,
        "device": "gpu" if job.train.use_gpu else "cpu",
        "train": deciding_settings(job.train),
        "code": OwnCode(job.sources).digests,
        "data": {name: split_digest(split) for name, split in splits.items()},
        **job.model_dump(mode="json", include={"file", "function", "arguments", "callbacks", "jit_compile"}),
        **({} if job.shuffle else {"shuffle": False}),
    }


def read_or_begin(
    home: Path, folder: Path, job: FitJob, identity: dict[str, Any], *, force: bool, is_first: bool = True
) -> FitRecord:
    """The record of the folder's training; with `force`, or where there is none yet, that of a new one.

    Of several processes only the first writes it. Raises ParamsError where the folder holds another training, DataError
    where its files are not what it wrote.
    """
    file = folder / RECORD
    if file.is_file() and not force:
        record = read_artifact(file, FitRecord, command="headrace.fit with force=True")
        _require_same(folder, record, identity)
        return record
    state = git_state(home)
    record = FitRecord(
        run_name=job.run_name,
        identity=identity,
        git_commit=state.git_commit,
        git_dirty=state.git_dirty,
        owner=owner(),
        started_at=datetime.now(UTC),
    )
    if is_first:
        if file.is_file():
            forget(home, job.run_name, reason="trained again with force=True")
        make_private(ProjectPaths(home).state)
        shutil.rmtree(folder / STATE, ignore_errors=True)  # of a training that this one replaces
        make_private(folder / STATE)
        job.folder.mkdir()
        write_artifact(file, record)
    return record


def _require_same(folder: Path, record: FitRecord, identity: Mapping[str, Any]) -> None:
    """Raise ParamsError where the folder holds another training, DataError where its files are not what it wrote."""
    names = [*identity, *(name for name in record.identity if name not in identity)]
    changed = [name for name in names if record.identity.get(name) != identity.get(name)]
    if changed:
        raise ParamsError(
            f"{folder} holds a training with other {', '.join(changed)}; give this one a folder of its own, or replace "
            "the other with force=True"
        )
    for name, expected in record.files.items():
        found = file_digest(folder / name) if (folder / name).is_file() else "no file"
        if found != expected:
            raise DataError(
                f"{folder / name} is not the file that {RECORD} names: expected SHA-256 {expected[:12]}, found "
                f"{found[:12]}; train again with force=True"
            )


def home_of(folder: Path) -> Path:
    """Where MLflow's store is: the project that the folder is in, else the working directory."""
    try:
        return project_root(folder)
    except ParamsError:
        return Path.cwd()
