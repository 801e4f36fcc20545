"""A workspace per DAG run: a clone of the project at one commit, with the project's DVC cache.

Concurrent runs have locks and files of their own, and nobody's working tree is touched. The results of a run outlive
its workspace. Files are in the DVC remote, references to them in a DVC experiment in the project's git.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from headrace.components.errors import ServiceError
from headrace.pipelines.host.private import make_private
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.command_lines import dvc, git
from headrace.pipelines.project.dvc import config
from headrace.pipelines.project.edit_params import edited, write
from headrace.pipelines.project.experiments import experiment_reference, save_experiment, take_over_experiment
from headrace.pipelines.run_overrides import require_open
from headrace.pipelines.yaml_dialect import read_text

_UNFINISHED = ".part-"
_ABANDONED_SECONDS = 3600  # after which a folder that is not finished is nobody's
_NAME_CHARACTERS = 100

# A hard link into the shared cache would be faster than a copy. But DVC only makes it read-only, which does not stop a
# program of root's: what it writes, every run would read.
_LINK_TYPES = "reflink,copy"

log = structlog.get_logger()


def open_workspace(project: Path | str, folder: Path, *, name: str, revision: str | None = None) -> Path:
    """Open the workspace of that name in `folder`, created by the first caller; any number may call concurrently.

    It stays at the commit that `revision` (default: the project's HEAD) was when it was made. Pass `commit_of` it to
    callers that open it on other machines. What `finish` has saved there, under that name and commit, it takes over.
    `project` is a folder, or a git URL: then the workspaces in `folder` share a cache of their own. Raises ServiceError
    for a project, a revision or a setting of DVC that can't be used.
    """
    workspace = folder.resolve() / _slug(name)
    if not _lock_file(workspace).exists():
        workspace.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=workspace.parent))
        try:
            _make(part / "clone", workspace, project=project, revision=revision or "HEAD")
            (part / "clone").rename(workspace)
        except OSError:
            if not _lock_file(workspace).exists():  # else another was faster, and theirs is as good
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    with using(workspace):
        _check_origin(workspace, project)
        _check_commit(workspace, revision)
    return workspace


@contextmanager
def using(workspace: Path) -> Iterator[None]:
    """Keep the workspace from being removed while the block runs; its last use is when the block begins."""
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(_lock_file(workspace).open("r+"))
            fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(_lock_file(workspace))  # raises if it was removed while we waited
        except FileNotFoundError as error:
            raise ServiceError(f"there is no workspace {workspace}: it was removed, or never opened") from error
        yield


def commit_of(workspace: Path) -> str:
    """The commit that the run is of, 40 hexadecimal digits."""
    return git(workspace, "rev-parse", "HEAD").strip()


def is_workspace(root: Path) -> bool:
    """Whether a project is a workspace, whose params.yaml holds the changes of a run's form and its interval."""
    return _lock_file(root).is_file()


def experiment_of(root: Path) -> str | None:
    """Git reference of the experiment that a workspace's results are saved as; None for any other project."""
    return experiment_reference(root, root.name) if is_workspace(root) else None


def variables_of(workspace: Path) -> dict[str, str]:
    """Environment variables by which the stages of Headrace's own repository run the code of the commit.

    In any other project Headrace is what is installed.
    """
    if not (workspace / "headrace" / "__init__.py").is_file():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(workspace), os.environ.get("PYTHONPATH")]))}


def uncommitted(project: Path) -> list[str]:
    """A project's changed and new files, which are no part of a run: a run is of a commit."""
    # A lock that is taken only to read would make a user's own `git commit` fail.
    found = git(project, "--no-optional-locks", "status", "--porcelain", "--no-renames", "-z")
    return [entry[3:] for entry in found.split("\0") if entry]


def committed_pipeline(workspace: Path, pipeline: str) -> Pipeline:
    """A pipeline as the commit's params.yaml has it, without the run's own changes."""
    return _load(workspace, _committed_params(workspace), pipeline)


def override_params(
    workspace: Path, pipeline: str, values: Mapping[str, Any], *, interval: Mapping[str, str] | None = None
) -> None:
    """Let params.yaml have these values, by place (`train.optimizer.learning_rate`), and else those of the commit.

    `values` are those of the user who started the run, `interval` the places of its data interval. Raises ParamsError,
    and changes nothing, for a place that is unknown or that a run can't change, or a value that is not allowed there.
    """
    text = edited(_committed_params(workspace), pipeline, values)
    require_open(committed_pipeline(workspace, pipeline), _load(workspace, text, pipeline))
    if interval:
        text = edited(text, pipeline, interval)
        _load(workspace, text, pipeline)
    params = ProjectPaths(workspace).params
    if read_text(params) != text:
        write(params, text)


def restore(workspace: Path, targets: Sequence[str]) -> None:
    """Fetch the outputs of these stages (`split@mnist`) into the workspace, from the cache or from the DVC remote.

    With them comes the remote's list of stages that ran elsewhere (the run cache); `dvc repro --pull` fetches their
    outputs instead of running them again. Raises ServiceError for outputs that are in neither: their task has not run,
    or not called `finish`.
    """
    if targets:
        dvc(workspace, "pull", "--run-cache", "--force", *targets)


def finish(workspace: Path) -> str:
    """Save what the run has made; return the name of its DVC experiment, which is the workspace's.

    Data, models and run cache go to the DVC remote, then the experiment to the project's git. There, `dvc exp show`
    lists it beside those of users. Call it at the end of a run, also a failed one, and of each task where the next may
    start on another machine. Another call changes nothing. Raises ServiceError where one can't be reached.
    """
    with using(workspace):
        dvc(workspace, "push", "--run-cache")
        save_experiment(workspace, workspace.name)
    return workspace.name


def remove_old_workspaces(folder: Path, *, older_than_days: float) -> list[Path]:
    """Remove the workspaces that were last used so long ago, but none that is in use; return them.

    Between two tasks, and while one is deferred, nobody uses a workspace: give more days than any run takes.
    """
    oldest = time.time() - older_than_days * 86_400
    workspaces = [lock.parents[1] for lock in folder.glob("[!.]*/.git/headrace.lock")]
    removed = [workspace for workspace in workspaces if _remove(workspace, unless_used_since=oldest)]
    for part in folder.glob(f"{_UNFINISHED}*"):  # of those who were killed while they made or removed one
        with suppress(FileNotFoundError):
            if part.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(part, ignore_errors=True)
    return removed


def _make(clone: Path, workspace: Path, *, project: Path | str, revision: str) -> None:
    """Make the clone, ready to be renamed to `workspace`."""
    local = Path(project).resolve() if Path(project).is_dir() else None
    git(clone.parent, "clone", "--quiet", "--no-checkout", "--", str(local or project), str(clone))
    git(clone, "checkout", "--quiet", "--detach", _resolve(clone, revision))
    if not git(clone, "config", "--default", "", "user.email").strip():  # a service's account may have none
        git(clone, "config", "user.name", "Headrace")
        git(clone, "config", "user.email", "headrace@localhost")
    if local:
        _share_tracking(clone, local)
        if files := uncommitted(local):
            log.warning("not part of the run, because not committed", project=str(local), files=files[:10])
    make_private(ProjectPaths(clone).state)  # before DVC, which would let everybody write there
    for name, value in _dvc_settings(clone, workspace, local).items():
        dvc(clone, "config", "--local", name, value)
    take_over_experiment(clone, workspace.name)
    _lock_file(clone).touch()


def _resolve(clone: Path, revision: str) -> str:
    """The commit of a revision; fetched from the project where it is neither a tag nor in its default branch."""
    if revision.startswith("-"):
        raise ServiceError(f"revision {revision!r}: expected a branch, a tag or a commit")
    with suppress(ServiceError):
        return git(clone, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    git(clone, "fetch", "--quiet", "origin", revision)
    return git(clone, "rev-parse", "FETCH_HEAD^{commit}").strip()


def _check_origin(workspace: Path, project: Path | str) -> None:
    """Raise ServiceError for a workspace of another project: one that was copied here pushes to the original."""
    origin = git(workspace, "config", "remote.origin.url").strip()
    expected = str(Path(project).resolve()) if Path(project).is_dir() else str(project)
    if origin != expected:
        raise ServiceError(
            f"workspace {workspace} is a clone of {origin}, expected one of {expected}: was the project copied? "
            "Remove it; what its tasks had finished is fetched again"
        )


def _check_commit(workspace: Path, revision: str | None) -> None:
    """Raise ServiceError if the workspace is at another commit than the requested one; a branch may have moved on."""
    if re.fullmatch("[0-9a-f]{40}", revision or "") and revision != (commit := commit_of(workspace)):
        raise ServiceError(
            f"workspace {workspace} is at commit {commit}, expected {revision}; "
            "open one with another name, or remove this one"
        )


def _share_tracking(clone: Path, project: Path) -> None:
    """Let MLflow's embedded store be the project's: one of the workspace's own would go with it."""
    own, shared = ProjectPaths(clone), ProjectPaths(project)
    own.mlflow_database.symlink_to(shared.mlflow_database)
    own.mlflow_artifacts.symlink_to(shared.mlflow_artifacts)
    with (clone / ".git" / "info" / "exclude").open("a", encoding="utf-8") as exclude:
        exclude.write(f"/{own.mlflow_database.name}\n/{own.mlflow_artifacts.name}\n")


def _dvc_settings(clone: Path, workspace: Path, project: Path | None) -> dict[str, str]:
    """The workspace's own settings of DVC, by name; the project's, its passwords too, are under them."""
    known = config(project or clone)
    # Else what comes from a remote is believed: an object that was cut short or swapped would be trained on.
    verified = {f"remote.{name}.verify": "true" for name in sorted(_remotes(known))}
    settings = {"cache.type": _LINK_TYPES, **verified}
    if project is None:
        _check_remote(clone, workspace.parent)
        return {**settings, "cache.dir": str(workspace.parent / ".cache")}
    if (private := project / ".dvc" / "config.local").is_file():
        shutil.copy2(private, clone / ".dvc" / private.name)  # with its mode
    remotes = {name: value for name, value in known.items() if re.fullmatch(r"remote\..+\.url", name)}
    folders = {name: value for name, value in remotes.items() if Path(value).is_absolute()}  # DVC has made them so
    return {**settings, **folders, "cache.dir": known.get("cache.dir", str(project / ".dvc" / "cache"))}


def _remotes(known: Mapping[str, str]) -> set[str]:
    found = (re.fullmatch(r"remote\.(.+)\.url", name) for name in known)
    return {match[1] for match in found if match}


def _check_remote(clone: Path, folder: Path) -> None:
    """Raise ServiceError if the default remote is relative to the project: from a URL, there is no such folder."""
    known = config(clone)
    remote = known.get("core.remote", "")
    if Path(known.get(f"remote.{remote}.url", "")).is_relative_to(folder):
        raise ServiceError(
            f"the DVC remote {remote!r} is a folder beside the project, which clones of a git URL do not have; "
            f"expected a URL or an absolute path: `dvc remote modify {remote} url ...`"
        )


def _committed_params(workspace: Path) -> str:
    return git(workspace, "show", f"HEAD:{ProjectPaths(workspace).params.name}")


def _load(workspace: Path, text: str, pipeline: str) -> Pipeline:
    """A pipeline of a text of params.yaml, and of the code in the workspace."""
    with tempfile.TemporaryDirectory() as folder:
        params = ProjectPaths(Path(folder)).params
        write(params, text)
        return load_pipeline(params, pipeline, root=workspace)


def _slug(name: str) -> str:
    """A name as folders and git references may have it; two that differ stay different."""
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_NAME_CHARACTERS].strip("-")
    return slug if slug == name else f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".strip("-")


def _lock_file(workspace: Path) -> Path:
    return workspace / ".git" / "headrace.lock"


def _remove(workspace: Path, *, unless_used_since: float) -> bool:
    try:
        with _lock_file(workspace).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_mtime > unless_used_since:
                return False
            removed = tempfile.mkdtemp(prefix=_UNFINISHED, dir=workspace.parent)
            workspace.rename(removed)  # atomic: nobody sees half a workspace
    except (BlockingIOError, FileNotFoundError):  # in use, or removed by another
        return False
    shutil.rmtree(removed, ignore_errors=True)
    return True
