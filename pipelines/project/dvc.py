"""The dvc command line: the only caller of it. DVC has no public Python API for running stages."""

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from headrace.components.errors import ParamsError, ServiceError, StoreError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.compatibility.dvc_messages import BLOCKED
from headrace.pipelines.host.file_lock import locked
from headrace.pipelines.host.host_problems import READ_ONLY, is_read_only
from headrace.pipelines.host.processes import end_session, guarded_session
from headrace.pipelines.parsed_yaml import parse_project_yaml
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.code_digests import OWN_CODE_STAGE, write_digests

LIMIT_SECONDS = 3600  # for a pull of all that a pipeline has; everything else takes seconds


class Launcher(NamedTuple):
    """A program that becomes the DVC whose command line it is given, and the folder where stages look for commands."""

    command: tuple[str, ...]
    programs: str


def environment(launcher: Launcher | None = None) -> dict[str, str]:
    """Environment for dvc, in which `headrace` and `dvc` are found although .venv may not be activated."""
    programs = [*([launcher.programs] if launcher else []), str(Path(sys.executable).parent)]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)]),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),  # else its notes drown the stages' lines
        "PYTHONUNBUFFERED": "1",  # else a stage's lines arrive when it has ended
        "SHELL": "/bin/sh",  # DVC runs commands in $SHELL, which for service accounts is `nologin`
        # Relative to the project, where dvc is called. DVC's default, /var/tmp/dvc, is writable by all.
        "DVC_SITE_CACHE_DIR": os.environ.get("DVC_SITE_CACHE_DIR", str(ProjectPaths(Path()).dvc_site_cache)),
    }


@contextmanager
def repro(
    root: Path,
    *targets: str,
    pipeline: str,
    single_item: bool = False,
    pull: bool = False,
    force: bool = False,
    extra: Mapping[str, str] | None = None,
    launcher: Launcher | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Yield a started `dvc repro TARGET...` of stages of a pipeline; its output and theirs is read from `stdout`.

    With `single_item` only these stages are checked, not those before them; with `pull` what ran elsewhere is fetched
    from DVC's remote; with `force` they run although they are up to date; `extra` are environment variables;
    `launcher` starts DVC. However
    the block ends, also by SIGKILL, nothing that was started lives 10 s after it. A Ctrl-C in the terminal reaches only
    the caller: the processes have their own session.

    It waits for any process that runs the same pipeline: a second `dvc repro` of a stage would fail. Others
    wait for each other only while DVC reads and writes dvc.lock.
    """
    check_lock_file(root)
    write_digests(ProjectPaths(root))  # a single stage is checked without the one that does so
    options = [*(["--single-item"] if single_item else []), *(["--pull"] if pull else [])]
    options += ["--force"] if force else []
    with locked(PipelinePaths(root, pipeline).repro_lock) as lock:
        _discard_damaged_lock_notes(root)
        _release_dead_holders(root)  # with the lock: who had it before may have been killed just now
        with (
            subprocess.Popen(
                [*(launcher.command if launcher else ()), _dvc(), "--wait-for-lock", "repro", *options, *targets],
                cwd=root,
                env={**environment(launcher), **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            ) as process,
            guarded_session(process.pid, keep_open=[lock]),  # the next caller waits until what we started has ended
        ):
            try:
                yield process
            finally:
                end_session(process.pid, on_poll=process.poll)


def _release_dead_holders(root: Path) -> None:
    """Take the entries of dead processes out of DVC's lock of stages.

    DVC does so itself, but not for a zombie (in a container nobody may reap it), nor where another process has the id.
    """
    file = root / ".dvc" / "tmp" / "rwlock"  # held over its change, as DVC does, through the lock beside it
    if not file.is_file():
        return
    with file.with_name(f"{file.name}.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        try:
            holders: dict[str, dict[str, Any]] = json.loads(file.read_bytes())
            written = {path: one for path, one in holders.get("write", {}).items() if _is_dvc(one["pid"])}
            read = {
                path: [one for one in some if _is_dvc(one["pid"])] for path, some in holders.get("read", {}).items()
            }
        except (ValueError, AttributeError, KeyError, TypeError):  # a dvc that was killed while it wrote: none holds it
            written, read = {}, {}
        with replace_file(file) as temporary:
            kept = {"write": written, "read": {path: some for path, some in read.items() if some}}
            temporary.write_text(json.dumps(kept), encoding="utf-8")


def _is_dvc(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any("dvc" in word for word in process.cmdline())
    except psutil.Error:
        return False


def blocking_process(lines: Iterable[str]) -> str | None:
    """Id of the process that has DVC's own lock of a stage, from what `dvc repro` printed; None where it has not."""
    text = "\n".join(lines)
    found = BLOCKED.search(text)
    return found[1] if found else None


def check_lock_file(root: Path) -> None:
    """Raise StoreError, with what to do, for a dvc.lock that is empty, in conflict or damaged."""
    file = ProjectPaths(root).dvc_lock
    try:
        text = file.read_bytes().decode()
        content = parse_project_yaml(text, file)
    except FileNotFoundError:
        return
    except (UnicodeDecodeError, ParamsError):
        content = None
        text = file.read_text(encoding="utf-8", errors="replace")
    if re.search(r"^(<{7}|={7}|>{7})( |$)", text, flags=re.MULTILINE):
        raise StoreError(
            f"{file} is in a git conflict: `git checkout --ours {file.name}` or `--theirs` takes one side; what "
            "the other had then comes from DVC's cache, or runs again"
        )
    if not (isinstance(content, dict) and "schema" in content):
        raise StoreError(
            f"{file} is {'damaged' if text.strip() else 'empty'}: `git checkout {file.name}` takes the committed one; "
            "without it (remove the file) stages come from DVC's cache, or run again"
        )


def status(root: Path, *targets: str) -> dict[str, Any]:
    """Changes by stage (`train@digits`); a stage that is not named is up to date.

    Without the stage that writes digests of own code: it always runs, and has just been done here.
    """
    check_lock_file(root)
    write_digests(ProjectPaths(root))
    changed: dict[str, Any] = json.loads(_output(root, "status", "--json", *targets))
    return {stage: changes for stage, changes in changed.items() if stage != OWN_CODE_STAGE}


def config(root: Path) -> dict[str, str]:
    """DVC's settings by name: `core.remote`, `remote.local.url` and so on."""
    if not (root / ".dvc").is_dir():  # `dvc config` answers outside of a repository, too
        raise ServiceError(f"{root} is not a DVC repository")
    lines = _output(root, "config", "--list").splitlines()
    return dict(line.split("=", maxsplit=1) for line in lines if "=" in line)


def get(root: Path, path: str, *, revision: str, destination: Path) -> None:
    """Write what `path` was at a git revision to `destination`, from DVC's cache or remote."""
    _output(root, "get", ".", path, "--rev", revision, "--out", str(destination))


def pull(root: Path, *paths: str) -> None:
    """Fetch outputs of stages from DVC's remote, as dvc.lock names them; `root` need not be in git."""
    check_lock_file(root)
    if not (root / ".git").exists():
        _output(root, "config", "--local", "core.no_scm", "true")
    _output(root, "pull", *paths)


def _discard_damaged_lock_notes(root: Path) -> None:
    """Remove DVC's notes of which process uses which path where they are no JSON: DVC refuses all work until then.

    DVC writes them in place, so a full disk leaves half of them; of no use to anybody, because nobody can read them.
    """
    notes = root / ".dvc" / "tmp" / "rwlock"
    if _is_json_or_absent(notes):
        return
    with notes.with_name("rwlock.lock").open("a") as lock:  # DVC's own lock: no other process is writing them now
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_json_or_absent(notes):
            notes.unlink()


def _is_json_or_absent(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def _output(root: Path, *arguments: str) -> str:
    _discard_damaged_lock_notes(root)
    try:
        ended = subprocess.run(
            [_dvc(), "--wait-for-lock", *arguments],
            cwd=root,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"`dvc {' '.join(arguments)}` had not ended after {LIMIT_SECONDS} s; see that what it waits for is up"
        ) from error
    if ended.returncode != 0:
        reason = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()
        cause = f" ({READ_ONLY}: {root})" if is_read_only(root) else ""
        raise ServiceError(f"`dvc {' '.join(arguments)}` failed: {reason[0]}{cause}")
    return ended.stdout


def _dvc() -> str:
    command = Path(sys.executable).with_name("dvc")
    if not command.exists():
        raise ServiceError(
            f"no dvc beside {sys.executable}; install Headrace with its requirements in that environment"
        )
    return str(command)
