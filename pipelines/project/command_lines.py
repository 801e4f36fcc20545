"""The git and dvc command lines, each call with a time limit and nobody to answer its questions."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from headrace.components.errors import ServiceError
from headrace.pipelines.project.dvc import environment

_GIT_SECONDS = 600
_DVC_SECONDS = 3600  # a push or a pull of all that a run has made

# Set where git itself has started us, as in a hook: they would send our commands to another repository.
_OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


def git(root: Path, *arguments: str, variables: Mapping[str, str] | None = None, given: str = "") -> str:
    """Run git in `root` with `given` on its standard input; its output. Raises ServiceError with git's reason."""
    return _output(root, ["git", *arguments], _GIT_SECONDS, variables or {}, given)


def dvc(root: Path, *arguments: str) -> str:
    """Run dvc in `root`; its output. Raises ServiceError with dvc's reason."""
    return _output(root, ["dvc", "--wait-for-lock", *arguments], _DVC_SECONDS, {}, "")


def _output(root: Path, command: list[str], limit_seconds: float, variables: Mapping[str, str], given: str) -> str:
    kept = {name: value for name, value in environment().items() if name not in _OF_ANOTHER_REPOSITORY}
    what = f"`{command[0]} {' '.join(command[1:])}` in {root}"
    try:
        ended = subprocess.run(
            command,
            cwd=root,
            env={**kept, "GIT_TERMINAL_PROMPT": "0", **variables},
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # as the names of files may be
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"{what} had not ended after {limit_seconds:.0f} s; see that what it waits for is up"
        ) from None  # its own text has the whole command, with any password of an address
    except OSError as error:
        raise ServiceError(f"{what} can't be started: {error}; `headrace doctor` says what is missing") from error
    if ended.returncode != 0:
        raise ServiceError(f"{what} failed: {_reason(ended.stderr) or f'exit code {ended.returncode}'}")
    return ended.stdout


def _reason(text: str) -> str:
    """The first line that says what is wrong, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        if line.lower().startswith(("fatal:", "error:")):
            return f"{line} {following}" if line.endswith(":") else line
    return lines[-1] if lines else ""
