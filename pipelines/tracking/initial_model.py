"""The initial weights of a training, fetched by git revision or model alias."""

import hashlib
import shutil
import tempfile
from pathlib import Path

import structlog

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.files.atomic import replace_folder
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc import get
from headrace.pipelines.tracking.registry import model_file

ALIAS_MARK = "@"

log = structlog.get_logger()


def fetch_start(pipeline: Pipeline, paths: PipelinePaths) -> Path | None:
    """Fetch the model (a file) or checkpoint (a folder) that `train.start_from` names; None where it names none.

    `@alias` or `model@alias` is a registered model; anything else a git revision, whose checkpoint of this pipeline
    comes out of DVC's cache or remote. Raises ParamsError, ServiceError or DataError where there is none.
    """
    requested = pipeline.train.start_from
    if requested is None:
        return None
    if ALIAS_MARK in requested:
        name, _, alias = requested.partition(ALIAS_MARK)
        return model_file(paths.root, name or pipeline.name, alias)
    return _checkpoint_of(requested, paths)


def _checkpoint_of(revision: str, paths: PipelinePaths) -> Path:
    checkpoint = paths.checkpoint.relative_to(paths.root)
    key = hashlib.sha256(f"{revision} {checkpoint}".encode()).hexdigest()[:16]
    local = ProjectPaths(paths.root).state / "start" / key
    with tempfile.TemporaryDirectory() as temporary:
        fetched = Path(temporary) / "checkpoint"
        try:
            get(paths.root, str(checkpoint), revision=revision, destination=fetched)
        except ServiceError as error:
            kind = ServiceError if _is_revision(paths.root, revision) else ParamsError
            raise kind(
                f"train.start_from: expected a git revision whose {checkpoint} DVC has, or @alias of "
                f"a registered model, found {revision!r}: {error}"
            ) from error
        if not fetched.is_dir():
            raise DataError(f"train.start_from: revision {revision!r} has no checkpoint {checkpoint}")
        with replace_folder(local) as folder:  # each time: a branch's checkpoint changes
            shutil.copytree(fetched, folder, dirs_exist_ok=True)
    log.info("starts from a checkpoint", revision=revision, checkpoint=str(checkpoint))
    return local


def _is_revision(root: Path, revision: str) -> bool:
    try:
        git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except ServiceError:
        return False
    return True
