"""What `headrace doctor` reports of doors: who could reach this project's processes, credentials and files."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.commands.diagnosis.checks import Finding
from headrace.pipelines.host.private import WRITE, open_to_others
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.ray_cluster.addresses import is_loopback, own_address
from headrace.pipelines.ray_cluster.ports import PORTS_VARIABLE, port_range

PAGE = "see docs/security.md"


def sockets(project: ProjectPaths) -> Iterator[Finding]:
    """Yield every socket of this project's processes that other machines reach, except those of HEADRACE_PORTS."""
    try:
        allowed = port_range() or range(0)
    except ParamsError as error:
        yield Finding("wrong", str(error), f"set it to two ports, or unset {PORTS_VARIABLE}")
        return
    listening = [(one, *end) for one in psutil.process_iter() if _is_ours(one, project) for end in _listening(one)]
    beyond = [(one, host, port) for one, host, port in listening if not is_loopback(host)]
    for process, host, port in beyond:
        if port not in allowed:
            what = f"{_name(process)} (PID {process.pid}) listens on {host}, port {port}: other machines reach it"
            yield Finding("wrong", what, f"end it, or let it listen on 127.0.0.1; {PAGE}")
    if all(port in allowed for _, _, port in beyond):
        here, there = len(listening) - len(beyond), f", {len(beyond)} at ports of {PORTS_VARIABLE}" if beyond else ""
        yield Finding("ok", f"sockets of this project's processes: {here} for this machine alone{there}")


def _is_ours(process: psutil.Process, project: ProjectPaths) -> bool:
    """All that is started in the project works in it, or below it."""
    try:
        return Path(process.cwd()).is_relative_to(project.root)
    except psutil.Error:  # it has ended, or is another user's
        return False


def _listening(process: psutil.Process) -> list[tuple[str, int]]:
    try:
        ends = process.net_connections("inet")
    except psutil.Error:
        return []
    return [(end.laddr.ip, end.laddr.port) for end in ends if end.status == psutil.CONN_LISTEN]


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "a process"


def cluster(_project: ProjectPaths) -> Iterator[Finding]:
    """Yield how this machine takes part in the cluster of RAY_ADDRESS: by which address, at which ports."""
    host = _host("RAY_ADDRESS")
    if not host or is_loopback(host):
        return
    try:
        ports = port_range()
    except ParamsError:
        return  # reported with the sockets
    where = own_address(host) or "the address that leads to the cluster"
    if ports is None:
        fix = f"export {PORTS_VARIABLE}=LOW-HIGH on every node, and allow these ports among the nodes alone; {PAGE}"
        yield Finding("warn", f"workers on this machine would listen on {where}, at any free port", fix)
    else:
        yield Finding("ok", f"workers on this machine listen on {where}, at ports {ports[0]} to {ports[-1]}")


def credentials(project: ProjectPaths) -> Iterator[Finding]:
    """Yield credentials that others may read, in files and on the way to services."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    files = [file for file in (token, project.dvc_private_config) if file.is_file()]
    opened = [file for file in files if open_to_others(file)]
    for file in opened:
        yield Finding("wrong", f"others may read or write {file}, which holds credentials", f"chmod 600 '{file}'")
    if not opened:
        found = ", ".join(map(str, files)) or "none"
        yield Finding("ok", f"files with credentials that only their owner may read: {found}")
    for name, what in {"RAY_ADDRESS": "Ray's token", "MLFLOW_TRACKING_URI": "what MLflow's server is sent"}.items():
        host = _host(name)
        if os.environ.get(name, "").startswith("http://") and host and not is_loopback(host):
            yield Finding("warn", f"{what} goes to {host} unencrypted ({name})", f"put TLS in front of it; {PAGE}")
    if os.environ.get("HEADRACE_ALLOW_OPEN_RAY") == "1":
        what = "HEADRACE_ALLOW_OPEN_RAY=1: a Ray cluster that lets everybody in is accepted"
        yield Finding("warn", what, "unset it, and give the cluster a token (RAY_AUTH_MODE=token)")


def permissions(project: ProjectPaths) -> Iterator[Finding]:
    """Yield what others may write of the project, or of the folders that its tools share."""
    opened = [path for path in _places(project) if not path.is_symlink() and open_to_others(path, WRITE)]
    for path in opened:
        yield Finding("wrong", f"everybody may write to {path}", f"chmod o-w '{path}'")
    if project.state.exists() and open_to_others(project.state):
        yield Finding(
            "wrong", f"others may enter {project.state}, and it can't be closed", f"chmod 700 {project.state}"
        )
    elif not opened:
        yield Finding("ok", f"nobody else may write to the project, or enter {project.state}")
    shared = Path(tempfile.gettempdir()) / "ray"
    if shared.is_dir() and shared.stat().st_uid == os.geteuid() and open_to_others(shared, WRITE):
        fix = f"rm -r {shared} once no Ray of yours runs; start Ray with --temp-dir in a folder of your own"
        yield Finding("warn", f"everybody may write to {shared}, which a Ray of yours has made", fix)
    yield from _site_cache(project)


def _places(project: ProjectPaths) -> Iterator[Path]:
    """The project, what lies in it, and DVC's settings; artifacts below are of the permissions of these folders."""
    yield project.root
    for folder in (project.root, project.root / ".dvc"):
        yield from (path for path in folder.glob("*") if path != project.state)


def _site_cache(project: ProjectPaths) -> Iterator[Finding]:
    try:
        folder = os.environ.get("DVC_SITE_CACHE_DIR") or dvc.config(project.root).get("core.site_cache_dir")
    except ServiceError:
        return  # reported with DVC's remote
    if folder is None:
        fix = f"dvc config core.site_cache_dir {project.dvc_site_cache.relative_to(project.root)}"
        yield Finding("warn", "your own dvc keeps its notes on files in /var/tmp/dvc, which everybody may write", fix)


def _host(variable: str) -> str:
    """The host of the address in a variable, empty where there is none."""
    address = os.environ.get(variable, "")
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""
