"""Checks of `headrace doctor`. Each gives findings; none imports the package that it checks."""

import importlib.metadata
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.tracking.server import address_of, tracking_uri
from headrace.pipelines.tracking.store import check_store

ENOUGH_DISK_BYTES = 5 * 2**30
ENOUGH_MEMORY_BYTES = 3 * 2**30  # of a training with two workers, Ray and all
ENOUGH_FILES = 1024
CONNECT_SECONDS = 2.0
PAGE_OF_CLUSTERS = "see docs/deploy.md"


State = Literal["ok", "warn", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of `headrace doctor`: its state, what was checked, and how to fix it."""

    state: State
    what: str
    fix: str = ""


def versions(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether Python and every package that Headrace requires are within their ranges."""
    metadata = importlib.metadata.metadata("headrace")
    python = ".".join(map(str, sys.version_info[:3]))
    wanted = SpecifierSet(metadata["Requires-Python"])
    yield Finding("ok" if python in wanted else "wrong", f"Python {python}", f"use a Python {wanted}")
    requirements = [Requirement(text) for text in importlib.metadata.requires("headrace") or []]
    wrong = [finding for requirement in requirements if (finding := _package(requirement))]
    yield from wrong or [Finding("ok", f"{len(requirements)} packages are within their ranges")]


def _package(requirement: Requirement) -> Finding | None:
    is_optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        found = "not installed"
    if (is_optional and found == "not installed") or requirement.specifier.contains(found, prereleases=True):
        return None
    what = f"{requirement.name} {found}, expected {requirement.specifier}"
    return Finding("wrong", what, f"pip install '{requirement.name}{requirement.specifier}'")


def disk(project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether there is room, and whether it may be written to."""
    for name, folder in {"project": project.root, "temporary files": Path(tempfile.gettempdir())}.items():
        free_bytes = shutil.disk_usage(folder).free
        state: Literal["ok", "warn"] = "ok" if free_bytes >= ENOUGH_DISK_BYTES else "warn"
        fix = f"free some: a run wants {ENOUGH_DISK_BYTES / 2**30:.0f} GiB"
        yield Finding(state, f"{free_bytes / 2**30:.1f} GiB free for {name} ({folder})", fix)
    # The folders of each pipeline, too: a run as another user leaves those behind.
    below = [place for name in ("data", "models", "reports") for place in (project.root / name).glob("*")]
    for place in (project.root, project.state, project.mlflow_database, *below):
        if place.exists() and not os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0)):
            yield Finding("wrong", f"no permission to write to {place}", f"sudo chown -R $(id -u) '{project.root}'")


def limits(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether a process may open enough files and have enough memory: Ray and TensorFlow want many of both."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    is_enough = files == resource.RLIM_INFINITY or files >= ENOUGH_FILES
    yield Finding("ok" if is_enough else "warn", f"a process may open {files} files", f"ulimit -n {ENOUGH_FILES}")
    if memory != resource.RLIM_INFINITY:
        yield Finding("warn", f"a process may have {memory / 2**30:.1f} GiB of addresses", "ulimit -v unlimited")
    free = psutil.virtual_memory().available
    state: Literal["ok", "warn"] = "ok" if free >= ENOUGH_MEMORY_BYTES else "warn"
    fix = f"end other programs: two workers want {ENOUGH_MEMORY_BYTES / 2**30:.0f} GiB"
    yield Finding(state, f"{free / 2**30:.1f} GiB of memory free", fix)


def git(project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether the project is a git repository, which DVC and the model's tags need."""
    if shutil.which("git") is None:
        yield Finding("wrong", "git is not installed", "sudo apt install git")
        return
    command = ["git", "-C", str(project.root), "rev-parse", "--verify", "--quiet", "HEAD"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        yield Finding("ok", f"git repository at commit {ended.stdout[:12].strip()}")
    elif "dubious ownership" in ended.stderr:
        fix = f"git config --global --add safe.directory '{project.root}'"
        yield Finding("wrong", "git does not trust this repository: another user owns it", fix)
    elif ended.stderr:
        yield Finding("wrong", f"{project.root} is not a git repository", "git init, or clone it instead of copying it")
    else:
        yield Finding("warn", "the git repository has no commit yet", "git commit")


def remote(project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether DVC works here, and whether its default remote can be reached."""
    try:
        settings = dvc.config(project.root)
    except ServiceError as error:
        yield Finding("wrong", str(error), "dvc init")
        return
    name = settings.get("core.remote")
    url = settings.get(f"remote.{name}.url", "")
    if url and settings.get(f"remote.{name}.verify") != "true":
        yield Finding(
            "warn",
            f"what comes from DVC remote {name} is not checked: a damaged object would be trained on",
            f"dvc remote modify {name} verify true",
        )
    if not url:
        yield Finding(
            "warn", "DVC has no default remote: data stays on this machine", "dvc remote add --default NAME URL"
        )
    elif "://" not in url:
        yield _local_remote(Path(url))
    elif endpoint := settings.get(f"remote.{name}.endpointurl"):
        yield _reachable(
            f"DVC remote {name} ({url} at {endpoint})", endpoint, "is the server up, and endpointurl right?"
        )
    else:
        yield Finding("ok", f"DVC remote {name} is {url} (to check it: dvc status --cloud)")


def _local_remote(folder: Path) -> Finding:
    """A folder that may be made by the first `dvc push`: then its nearest parent must be writable."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return Finding("ok", f"DVC remote is the folder {folder}")
    return Finding(
        "wrong", f"DVC remote {folder}: no permission to write in {nearest}", "dvc remote modify NAME url FOLDER"
    )


def mlflow(project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether MLflow's server answers, or its SQLite file is of this MLflow's schema."""
    uri = tracking_uri(project.root)
    shown = address_of(uri)
    if uri.startswith(("http://", "https://")):
        yield _reachable(f"MLflow at {shown}", uri, "is the server up, and MLFLOW_TRACKING_URI right?")
    elif uri.startswith("sqlite:///"):
        yield _sqlite_store(Path(uri.removeprefix("sqlite:///")))
    else:
        yield Finding("warn", f"MLflow at {shown} is not checked by this command")


def _sqlite_store(database: Path) -> Finding:
    try:
        if check_store(database, thorough=True) is None:
            return Finding("ok", f"MLflow's store {database} will be made by the first run")
    except ServiceError as error:
        return Finding("wrong", str(error), "`headrace restore FILE` takes what `headrace backup` wrote")
    try:
        with closing(
            sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=CONNECT_SECONDS)
        ) as store:
            (found,) = store.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.Error, TypeError) as error:
        return Finding(
            "wrong", f"MLflow's store {database} can't be read: {error}", "move it away to start with an empty one"
        )
    if found in (expected := mlflow_schemas()):
        return Finding("ok", f"MLflow's store {database}, schema {found}")
    fix = f"make a copy of it, then: mlflow db upgrade 'sqlite:///{database}'"
    return Finding("wrong", f"MLflow's store {database} has schema {found}, expected {', '.join(expected)}", fix)


def mlflow_schemas() -> set[str]:
    """The newest schema of the installed MLflow, read from its migrations, because importing MLflow takes seconds."""
    spec = find_spec("mlflow")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    made, replaced = set(), set()
    for file in (package / "store" / "db_migrations" / "versions").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        made.update(re.findall(r"^revision\s*=\s*[\"'](\w+)", text, flags=re.MULTILINE))
        replaced.update(re.findall(r"^down_revision\s*=\s*[\"'](\w+)", text, flags=re.MULTILINE))
    return made - replaced


def ray(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether the cluster that RAY_ADDRESS names can be reached; without it Ray starts inside each run."""
    address = os.environ.get("RAY_ADDRESS", "")
    if find_spec("ray") is None:
        yield Finding("wrong", "Ray is not installed", "install Headrace with its requirements")
    elif address in ("", "auto", "local"):
        yield Finding(
            "ok", "Ray starts inside each run (RAY_ADDRESS is not set)" if not address else f"RAY_ADDRESS={address}"
        )
    else:
        yield _reachable(
            f"Ray at {address}", address, "is the cluster up, and RAY_ADDRESS right? Unset it to train here"
        )


def _reachable(what: str, address: str, fix: str) -> Finding:
    """Whether something listens at `host:port` or `scheme://user:password@host:port/path`."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        port = parts.port or {"http": 80, "https": 443, "ray": 10001}.get(parts.scheme)
        if not parts.hostname or not port:
            return Finding("wrong", f"{what}: expected an address with host and port", fix)
        socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return Finding("wrong", f"{what} can't be reached: {error}", fix)
    return Finding("ok", f"{what} can be reached")


def mirror(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether HEADRACE_MIRROR, where it is set, is a folder."""
    folder = os.environ.get("HEADRACE_MIRROR")
    if folder is None:
        yield Finding("ok", "raw data is fetched over https (HEADRACE_MIRROR is not set)")
    elif Path(folder).is_dir():
        yield Finding("ok", f"raw data is taken from the mirror {folder}")
    else:
        yield Finding(
            "wrong", f"HEADRACE_MIRROR={folder} is not a folder", "set it to a folder of <dataset>/<file>, or unset it"
        )


def storage(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether HEADRACE_STORAGE, where it is set, can be listed with the keys of access that are found here."""
    address = os.environ.get("HEADRACE_STORAGE")
    if not address:
        yield Finding("ok", "nodes exchange files through DVC's remote (HEADRACE_STORAGE is not set)")
        return
    shown = address.partition("?")[0]
    endpoint = parse_qs(urlsplit(address).query).get("endpoint_url", [""])[0]
    if endpoint:  # checked first, because boto3 retries for long
        found = _reachable(
            f"HEADRACE_STORAGE={shown} at {endpoint}", endpoint, "is the server up, and the address right?"
        )
        if found.state != "ok":
            yield found
            return
    try:
        open_storage(address).keys("trainings/doctor/")
    except (ParamsError, ServiceError) as error:
        yield Finding("wrong", f"HEADRACE_STORAGE={shown}: {error}", "as it says, or unset HEADRACE_STORAGE")
    else:
        yield Finding("ok", f"HEADRACE_STORAGE={shown} can be listed")


def network(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield whether workers on this machine can find each other: by its name, on a free port, past any proxy."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError as error:
        yield Finding(
            "warn", f"this machine's name {name} does not lead to it: {error}", f"add `127.0.1.1 {name}` to /etc/hosts"
        )
    else:
        yield Finding("ok", f"this machine is {name} ({address}) and has free ports")
    proxies = [
        variable for variable in ("http_proxy", "grpc_proxy", "HTTP_PROXY", "https_proxy") if os.environ.get(variable)
    ]
    if proxies and not (os.environ.get("no_proxy") or os.environ.get("NO_PROXY")):
        fix = f"export no_proxy=localhost,127.0.0.1,{name}"
        yield Finding("warn", f"{proxies[0]} is set: TensorFlow's workers would reach each other through it", fix)
