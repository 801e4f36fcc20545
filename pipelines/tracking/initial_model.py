"""The initial weights of a training, fetched by git revision or model alias."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.files.atomic import replace_folder
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.dvc import get
from headrace.pipelines.tracking.registry import model_file, versions

ALIAS_MARK = "@"
START_VARIABLE = "HEADRACE_START_WEIGHTS"

log = structlog.get_logger()


def fetch_start(pipeline: Pipeline, paths: PipelinePaths) -> Path | None:
    """Fetch the model (a file) or checkpoint (a folder) that `train.start_from` names; None where it names none.

    `@alias` or `model@alias` is a registered model; anything else a git revision, whose checkpoint of this pipeline
    comes out of DVC's cache or remote. Raises ParamsError, ServiceError or DataError where there is none.
    """
    requested = pipeline.train.start_from
    if requested is None:
        return None
    if given := os.environ.get(START_VARIABLE):  # a training that is made again starts from what the first one did
        return Path(given)
    if ALIAS_MARK in requested:
        name, _, alias = requested.partition(ALIAS_MARK)
        return model_file(paths.root, name or pipeline.name, alias)
    return fetch_checkpoint(requested, paths)


class ResolvedStart(NamedTuple):
    """What `train.start_from` meant when it was read: a version of a registered model, or a commit."""

    model: str | None
    version: int | None
    commit: str | None


def resolved_start(requested: str, digest: str, paths: PipelinePaths) -> ResolvedStart:
    """The version whose file has the digest that a training's identity names, or the commit of a revision.

    An alias may have moved since; the digest says which version it was. None where it can't be known any more.
    """
    if ALIAS_MARK in requested:
        name = requested.partition(ALIAS_MARK)[0] or paths.pipeline
        found = [
            one.number
            for one in versions(paths.root, name)
            if (known := one.tags.get("model_sha256")) and digest_of_sums([known]) == digest
        ]
        return ResolvedStart(name, max(found, default=None), None)
    try:
        commit = git(paths.root, "rev-parse", "--verify", "--quiet", f"{requested}^{{commit}}").strip()
    except ServiceError:
        return ResolvedStart(None, None, None)
    return ResolvedStart(None, None, commit)


def digest_of_sums(sums: Iterable[str]) -> str:
    """SHA-256 over the SHA-256 of some files, all in hexadecimal digits: what an identity holds of initial weights."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, sums))).hexdigest()


def fetch_checkpoint(revision: str, paths: PipelinePaths) -> Path:
    """Fetch the checkpoint of a git revision from DVC's cache or remote; raises as `fetch_start` does."""
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
