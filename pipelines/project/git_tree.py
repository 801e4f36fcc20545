"""The project's working tree as git sees it: its commit, and how its files differ from that, without secrets."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.redaction import holds_secret, redacted
from headrace.components.schema.settings import Settings
from headrace.pipelines.project.command_lines import git

REQUIRE_CLEAN_VARIABLE = "HEADRACE_REQUIRE_CLEAN"
MAX_CHANGES_BYTES = 1_000_000
WRITTEN_BY_COMMANDS = ("dvc.lock", "reports", "docs/results", "docs/results.md")
_OWN_FILES = ("params.yaml", "dvc.yaml", "headrace.lock")
_NAMED_LEFT_OUT = 20

_SECRET_NAME = re.compile(
    r"(?i)(^|/)(\.env[^/]*|\.netrc|id_(rsa|ed25519)[^/]*|[^/]*\.(pem|key|p12|pfx)|[^/]*credentials[^/]*)$"
)
_FILE_HEADER = re.compile(r'^diff --git (?:"a/(.*)" "b/\1"|a/(.*) b/\2)$')


# A record of somebody else reaches git: no text that git would take for an option.
Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class LeftOut(Settings):
    """A file that differs from the commit, or more than one, and why its text is not kept."""

    path: str
    why: str


class GitTree(Settings):
    """A working tree; `commit` is None outside of git, and before the first commit."""

    commit: Commit | None = None
    branch: str | None = None
    remote: str | None = None  # the address of origin, without its secrets
    user: str | None = None
    dirty: bool | None = None  # whether anything differs from the commit, files that git does not know included
    changes_sha256: str | None = None  # of the text that `git apply --unidiff-zero` takes; None where nothing differs
    left_out: tuple[LeftOut, ...] = ()


class Status(NamedTuple):
    """What `git status` says: the tree, and the paths of changed and of unknown files."""

    tree: GitTree
    changed: tuple[str, ...]
    unknown: tuple[str, ...]


def git_status(root: Path) -> Status:
    """The project's state in git; one that is not in git has no commit."""
    excluded = [f":(exclude){name}" for name in WRITTEN_BY_COMMANDS]
    options = ["--porcelain=v2", "--branch", "--no-renames", "-z"]
    try:
        # A lock that is taken only to read would make a user's own `git commit` fail.
        found = git(root, "--no-optional-locks", "status", *options, "--", ".", *excluded)
        settings = _settings(root)
    except ServiceError:
        return Status(GitTree(), (), ())
    entries = found.split("\0")
    heads = dict(entry[2:].split(" ", 1) for entry in entries if entry.startswith("# "))
    changed = tuple(entry.split(" ", 8)[8] for entry in entries if entry.startswith("1 "))
    changed += tuple(entry.split(" ", 10)[10] for entry in entries if entry.startswith("u "))
    unknown = tuple(entry[2:] for entry in entries if entry.startswith("? "))
    commit = heads.get("branch.oid")
    tree = GitTree(
        commit=None if commit == "(initial)" else commit,
        branch=None if heads.get("branch.head") == "(detached)" else heads.get("branch.head"),
        remote=redacted(settings["remote.origin.url"]) if "remote.origin.url" in settings else None,
        user=settings.get("user.email"),
        dirty=bool(changed or unknown),
    )
    return Status(tree, changed, unknown)


def require_clean(status: Status, *, own_files: Iterable[str], may_change: Iterable[str] = ()) -> None:
    """Raise ParamsError where HEADRACE_REQUIRE_CLEAN is set and files that count differ from the commit."""
    if os.environ.get(REQUIRE_CLEAN_VARIABLE, "") in ("", "0"):
        return
    if status.tree.commit is None:
        raise ParamsError(f"{REQUIRE_CLEAN_VARIABLE} is set, and the project has no commit; commit it, or unset that")
    differing = [path for path in _counting(status, own_files) if path not in set(may_change)]
    if differing:
        raise ParamsError(
            f"{REQUIRE_CLEAN_VARIABLE} is set, and these differ from the commit: {', '.join(differing[:10])}"
            f"{' ...' if len(differing) > 10 else ''}; commit them, or unset that"
        )


def changes_of(root: Path, status: Status, *, own_files: Iterable[str]) -> tuple[str, tuple[LeftOut, ...]]:
    """How files that count differ from the commit, as `git apply --unidiff-zero` takes it, and what is left out.

    Files that count are those that git knows, and of others the project's own and the code that a pipeline names. Left
    out are files that may hold secrets, that are no UTF-8, and whatever is beyond a megabyte. An unknown file that does
    not count is named without a path of its own.
    """
    left_out: list[LeftOut] = []
    kept: list[str] = []
    size_bytes = 0
    for path, section in _sections(root, status, own_files) if status.tree.commit else ():
        why = _why_not(path, section, room_bytes=MAX_CHANGES_BYTES - size_bytes)
        if why:
            left_out.append(LeftOut(path=path, why=why))
        else:
            kept.append(section.decode())
            size_bytes += len(section)
    return "".join(kept), (*left_out, *_uncounted(root, status, own_files))


def _settings(root: Path) -> dict[str, str]:
    try:
        lines = git(root, "config", "--null", "--get-regexp", r"^(remote\.origin\.url|user\.email)$").split("\0")
    except ServiceError:  # neither is set
        return {}
    return dict(line.split("\n", 1) for line in lines if "\n" in line)


def _counting(status: Status, own_files: Iterable[str]) -> list[str]:
    known = {*_OWN_FILES, *own_files}
    return [*status.changed, *(path for path in known if _is_below(path, status.unknown))]


def _is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether git does not know a file: it names a folder of unknown files alone by the folder."""
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in folders)


def _sections(root: Path, status: Status, own_files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Each differing file with its part of the diff."""
    counting = _counting(status, own_files)
    if not counting:
        return
    added = sorted(set(counting) - set(status.changed))
    with tempfile.TemporaryDirectory() as folder:
        index, file = Path(folder) / "index", Path(folder) / "changes"
        present = root / git(root, "rev-parse", "--git-path", "index").strip()
        if present.is_file():
            shutil.copy2(present, index)  # its own time, too: by it git knows which files may have changed just after
        variables = {"GIT_INDEX_FILE": str(index), "GIT_LITERAL_PATHSPECS": "1"}
        if added:  # noted in a copy of the index alone
            git(root, "add", "--force", "--intent-to-add", "--", *added, variables=variables)
        options = ["--binary", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"]
        options += ["--src-prefix=a/", "--dst-prefix=b/", f"--output={file}", "--relative"]
        git(root, "-c", "core.quotePath=false", "diff", *options, "HEAD", "--", *counting, variables=variables)
        content = file.read_bytes()
    for section in re.split(rb"(?m)^(?=diff --git )", content):
        if section:
            yield _path_of(section), section


def _path_of(section: bytes) -> str:
    header = section.split(b"\n", 1)[0].decode(errors="replace")
    found = _FILE_HEADER.match(header)
    return (found[1] or found[2]) if found else header


def _why_not(path: str, section: bytes, *, room_bytes: int) -> str:
    """Why a file's changes are not kept; "" where they are."""
    if _SECRET_NAME.search(path):
        return "its name is that of a file of secrets"
    if len(section) > room_bytes:
        return f"{len(section):,} bytes of changes, which is more than there is room for"
    try:
        text = section.decode()
    except UnicodeDecodeError:
        return "its text is no UTF-8"
    return "it seems to hold a secret" if holds_secret(text) else ""


def _uncounted(root: Path, status: Status, own_files: Iterable[str]) -> tuple[LeftOut, ...]:
    """One entry, without a path, for the unknown files that no pipeline names."""
    known = {*_OWN_FILES, *own_files}
    others: list[str] = []
    for path in status.unknown:
        if path.endswith("/") and any(one.startswith(path) for one in known):  # of these folders, file by file
            listed = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", path)
            others += [one for one in listed.split("\0") if one and one not in known]
        elif path not in known:
            others.append(path)
    if not others:
        return ()
    more = f" and {len(others) - _NAMED_LEFT_OUT} more" if len(others) > _NAMED_LEFT_OUT else ""
    return (LeftOut(path="", why=f"not in git, and named by no pipeline: {', '.join(others[:_NAMED_LEFT_OUT])}{more}"),)
