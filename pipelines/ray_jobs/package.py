"""The code that a cluster is sent: a zip of what git tracks or would track, without data, outputs and secrets.

Headrace itself goes with it, as it is installed or linked here: a job runs the code that submitted it.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.project.command_lines import git

# Ray's dashboard takes no larger upload (DASHBOARD_CLIENT_MAX_SIZE); its limit for packages, 512 MiB, lies behind that.
MAX_PACKAGE_BYTES = 100 * 1024**2

# Nothing a job runs. DVC makes git ignore what it caches; reports are outputs too, but some projects track them.
_FOLDERS_LEFT_OUT = ("bench", "dags", "data", "docs", "infra", "models", "reports", "tests")
_FILES_LEFT_OUT = ("*.md", "*.ipynb", "*.pyc", "LICENSE*", "Makefile", "*.db", "*.db-*", "*.h5", "*.keras")
# Names of secrets, unless they end with .py: a module may well be named after what it reads.
_SECRETS: tuple[str, ...] = ("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keytab", "*.env", "id_rsa*", "id_ed25519*")
_SECRETS += ("id_ecdsa*", "auth_token*", "*credentials*", "*secret*")
_HIDDEN_BUT_NEEDED = (".dvc/config", ".dvcignore")  # never .dvc/config.local, which is where DVC keeps passwords
_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can store


def package(root: Path, *, extra: Mapping[str, bytes] = {}) -> bytes:
    """Zip the project's present code, and `extra`, contents by path; the same code gives the same bytes.

    It is stored, not compressed: other versions of zlib would make other bytes of the same code. Raises ParamsError
    where it is larger than MAX_PACKAGE_BYTES.
    """
    files = {name: root / name for name in _names(root) if _belongs(name) and _is_inside(root, root / name)}
    added = {_checked(name): content for name, content in extra.items()}
    _check_size(
        {name: path.stat().st_size for name, path in files.items()} | {name: len(added[name]) for name in added}
    )
    contents = {name: path.read_bytes() for name, path in files.items()} | added
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system = 3  # Unix, wherever it is made: else no modes
            is_program = name not in added and files[name].stat().st_mode & 0o100
            entry.external_attr = (0o100755 if is_program else 0o100644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def package_digest(archive: bytes) -> str:
    """A package's name by its content, 32 hexadecimal digits."""
    return hashlib.sha256(archive).hexdigest()[:32]


def headrace_code() -> dict[str, bytes]:
    """Headrace's own files by their path below a folder of PYTHONPATH."""
    top = Path(__file__).parents[2]  # headrace/: in its repository, two rooms in it are links
    found = {}
    for folder, folders, names in os.walk(top, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for file in (Path(folder) / name for name in names if not name.endswith(".pyc")):
            found[file.relative_to(top.parent).as_posix()] = file.read_bytes()
    return found


def _names(root: Path) -> Iterable[str]:
    """Files that git tracks or would track; where there is no git, as in an image, all files."""
    try:
        listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    except ServiceError:
        listed = []
    # A folder that a repository around it ignores has no files for git.
    return set(filter(None, listed)) or set(_walk(root))


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        place = Path(folder).relative_to(root)
        may_have_code = (".dvc", "models")
        folders[:] = [
            name for name in folders if (place / name).parts[0] in may_have_code or _belongs((place / name).as_posix())
        ]
        yield from ((place / name).as_posix() for name in names)


def _belongs(name: str) -> bool:
    path = PurePosixPath(name)
    if name in _HIDDEN_BUT_NEEDED:
        return True
    is_model_code = path.parts[0] == "models" and path.suffix == ".py"  # beside what trainings write there
    if (path.parts[0] in _FOLDERS_LEFT_OUT and not is_model_code) or any(
        part.startswith(".") or part == "__pycache__" for part in path.parts
    ):
        return False
    patterns = _FILES_LEFT_OUT if path.suffix == ".py" else (*_FILES_LEFT_OUT, *_SECRETS)
    return not any(fnmatch(path.name.lower(), pattern.lower()) for pattern in patterns)


def _is_inside(root: Path, path: Path) -> bool:
    """Whether it is a file (git also lists deleted ones, and submodules), and no link that leads out of the project."""
    return path.is_file() and path.resolve().is_relative_to(root.resolve())


def _checked(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name:
        raise ParamsError(f"can't pack a file as {name!r}; expected a path below the project, such as a/b.json")
    return name


def _check_size(sizes: Mapping[str, int]) -> None:
    if (total := sum(sizes.values()) + 1024 * len(sizes)) < MAX_PACKAGE_BYTES:  # a zip has each name twice, and more
        return
    biggest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    raise ParamsError(
        f"the code to send to Ray has {total / 2**20:.0f} MiB, expected less than {MAX_PACKAGE_BYTES / 2**20:.0f}; the "
        f"biggest files: {', '.join(f'{name} ({sizes[name] / 2**20:.1f} MiB)' for name in biggest)}. Put data below "
        "data/ or into .gitignore: DVC fetches it on the nodes"
    )
