"""What a training in a Ray job receives from its submitter, and how its inputs reach it.

Only code is shipped to a cluster. Data, checkpoints and results go through a storage that both sides reach.
"""

import hashlib
import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.schema.settings import Settings
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import fetch, is_published, publish, withdraw
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.git_tree import git_status
from headrace.pipelines.ray_train.training_job import Job, is_shard, training_key
from headrace.pipelines.remote_training.dvc_inputs import dvc_remote, pushed_splits

# Set by Ray for the entrypoint of a job, and for nothing else.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
STORAGE_VARIABLE = "HEADRACE_STORAGE"
OWNER_VARIABLE = "HEADRACE_OWNER"
BY_HAND = "hand"
RECORD = "record.json"

log = structlog.get_logger()


class GitState(NamedTuple):
    """The commit that is checked out, "unknown" outside of git, whether the files differ from it, and where it is from.

    A branch or remote that there is none of is "".
    """

    git_commit: str
    git_dirty: bool | None
    git_branch: str = ""
    git_remote: str = ""


class Handoff(Settings):
    """What is shipped with the code: which training this is, for whom, and where its files are exchanged."""

    run_name: str
    owner: str
    storage: str
    inputs: str
    start_weights: str | None = None
    pretrained: str | None = None
    git_commit: str
    git_dirty: bool | None = None
    git_branch: str = ""
    git_remote: str = ""
    ray_address: str
    python: str = ""  # of the submitter, such as 3.11; a job server does not say its own


def is_in_job() -> bool:
    """Whether this process is the entrypoint of a Ray job."""
    return JOB_VARIABLE in os.environ


def submission_id() -> str | None:
    """Submission id of the Ray job whose entrypoint this process is; None outside of one."""
    config = json.loads(os.environ.get(JOB_VARIABLE, "{}"))
    name = config.get("metadata", {}).get("job_submission_id")
    return str(name) if name else None


def storage_address(root: Path) -> str:
    """Address of the storage that this project's nodes share: HEADRACE_STORAGE, else DVC's default remote.

    Raises ParamsError where that is no place that other machines could reach.
    """
    address = os.environ.get(STORAGE_VARIABLE) or _default_remote(root)
    open_storage(address)
    return address


def make_handoff(
    paths: PipelinePaths, *, run_name: str, start_weights: Path | None, pretrained: Path | None = None
) -> Handoff:
    """The handoff to a job that trains `run_name` from the files of this project."""
    return Handoff(
        run_name=run_name,
        owner=owner(),
        storage=storage_address(paths.root),
        inputs=inputs_key(paths, start_weights, pretrained),
        start_weights=start_name(start_weights) if start_weights else None,
        pretrained=pretrained_name(pretrained) if pretrained else None,
        **git_state(paths.root)._asdict(),
        ray_address=os.environ.get("RAY_ADDRESS", ""),
        python=_python(),
    )


def read_handoff(root: Path) -> Handoff | None:
    """Read the handoff that was shipped with the code; None outside of a job that Headrace has submitted.

    Raises ParamsError where the cluster has another Python than the submitter.
    """
    file = ProjectPaths(root).handoff
    if not (is_in_job() and file.is_file()):
        return None
    handoff = Handoff.model_validate_json(file.read_text(encoding="utf-8"))
    if handoff.python not in ("", _python()):
        raise ParamsError(
            f"this was submitted from Python {handoff.python}, and the cluster has Python {_python()}: expected the "
            "same on both; install it on all nodes, or submit from such a Python"
        )
    return handoff


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def owner() -> str:
    """For whom this training is: an Airflow run, or a user."""
    return os.environ.get(OWNER_VARIABLE) or BY_HAND


def inputs_key(paths: PipelinePaths, start_weights: Path | None, pretrained: Path | None = None) -> str:
    """The storage's key of splits, statistics, initial and pretrained weights: a name by their content."""
    described = [paths.manifest, paths.statistics]  # the manifest has the digest of each split
    described += [*_files(start_weights), *_files(pretrained)]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in described)).hexdigest()
    return f"inputs/{paths.pipeline}-{digest[:16]}"


def publish_inputs(
    paths: PipelinePaths, handoff: Handoff, *, start_weights: Path | None, pretrained: Path | None = None
) -> None:
    """Upload splits, statistics, a backbone's weights, initial and pretrained ones, unless they are there already.

    Splits that DVC has pushed to the same bucket or folder are used there.
    """
    sources = {"splits": paths.splits, "statistics.json": paths.statistics}
    sources |= {file.name: file for file in _backbone_weights(paths.statistics)}
    if start_weights is not None:
        sources[start_name(start_weights)] = start_weights
    if pretrained is not None:
        sources[pretrained_name(pretrained)] = pretrained
    storage = open_storage(handoff.storage)
    if not is_published(handoff.inputs, storage=storage):
        linked = pushed_splits(paths, handoff.storage)
        if linked:
            log.info("the splits are used where DVC has pushed them", files=len(linked))
        publish(sources, storage=storage, key=handoff.inputs, linked=linked)


def start_name(start_weights: Path) -> str:
    """Key of the initial weights within the inputs."""
    return f"start/{start_weights.name}"


def pretrained_name(pretrained: Path) -> str:
    """Key of the weights that a model of a file starts from, within the inputs."""
    return f"weights/{pretrained.name}"


def _files(path: Path | None) -> list[Path]:
    if path is None:
        return []
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def fetched_pretrained(paths: PipelinePaths, handoff: Handoff) -> Path | None:
    """The weights that a model of a file starts from, among the inputs that `fetch_inputs` has fetched."""
    return _inputs_folder(paths) / handoff.pretrained if handoff.pretrained else None


def fetch_inputs(paths: PipelinePaths, handoff: Handoff | None) -> Path | None:
    """Put splits and statistics where the train stage reads them; return the initial weights, if there are some.

    Without a handoff, in a job that a user submitted, DVC's remote has them.
    """
    if handoff is None:
        _pull(paths)
        return None
    inputs = _inputs_folder(paths)
    if not fetch(handoff.inputs, inputs, storage=open_storage(handoff.storage), left_out=is_shard):
        raise ParamsError(f"{handoff.inputs} is not in the storage {handoff.storage}; submit the training again")
    weights = [(file, paths.statistics.with_name(file.name)) for file in _backbone_weights(inputs / "statistics.json")]
    for source, place in (
        (inputs / "splits", paths.splits),
        (inputs / "statistics.json", paths.statistics),
        *weights,
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, place)
    return inputs / handoff.start_weights if handoff.start_weights else None


def _inputs_folder(paths: PipelinePaths) -> Path:
    return ProjectPaths(paths.root).state / "inputs"


def fetch_earlier(job: Job, record: Path) -> None:
    """Fetch what an earlier attempt of the same training stored: the record of its MLflow run, and its results."""
    if job.storage:
        storage = open_storage(job.storage)
        record.parent.mkdir(parents=True, exist_ok=True)
        storage.download(job.key(RECORD), record)
        fetch(job.key("results"), job.results, storage=storage)


def keep_record(job: Job, record: Path) -> None:
    """Keep in the storage what MLflow has received, and what not yet; nothing happens where there is none."""
    if job.storage:
        with suppress(ServiceError):  # it is kept again with the next epoch
            open_storage(job.storage).upload(job.key(RECORD), record)


def publish_run(job: Job, run: Path) -> None:
    """Say in the storage that the training is done, by its run.json; nothing happens where there is none."""
    if job.storage:
        publish({run.name: run}, storage=open_storage(job.storage), key=job.key("run"))


def git_state(root: Path) -> GitState:
    """State of the project in git; what commands themselves write (dvc.lock, reports, results) makes it no other."""
    tree = git_status(root).tree
    if tree.commit is None:
        return GitState("unknown", None)
    return GitState(tree.commit, tree.dirty, tree.branch or "", tree.remote or "")


def forget_published(run_name: str, storage: str) -> None:
    """Remove a training's results and checkpoints from the storage, so that it trains again."""
    place = open_storage(storage)
    for name in ("run", "results"):
        withdraw(training_key(run_name, name), storage=place)
    for key in place.keys(f"{training_key(run_name)}/"):
        place.remove(key)


def _backbone_weights(statistics: Path) -> list[Path]:
    """The file beside the statistics that they name; none where images go through no backbone."""
    backbone = FittedTable.model_validate_json(statistics.read_text(encoding="utf-8")).backbone
    return [statistics.with_name(backbone.weights_file)] if backbone else []


def _pull(paths: PipelinePaths) -> None:
    """From DVC's remote; a job's folder is no git repository."""
    if not paths.manifest.is_file() or not paths.statistics.is_file():
        _pull_files(paths, [paths.splits, paths.statistics])
    if missing := [file for file in _backbone_weights(paths.statistics) if not file.is_file()]:
        _pull_files(paths, missing)


def _pull_files(paths: PipelinePaths, files: list[Path]) -> None:
    dvc.pull(paths.root, *(file.relative_to(paths.root).as_posix() for file in files))


def _default_remote(root: Path) -> str:
    address = dvc_remote(root, "headrace")
    if address is None:
        raise ParamsError(
            f"a cluster needs a storage that all its nodes reach: set {STORAGE_VARIABLE} to s3://BUCKET/PREFIX or to a "
            "shared folder, or give DVC a default remote (`dvc remote add --default NAME s3://BUCKET/PREFIX`)"
        )
    return address
