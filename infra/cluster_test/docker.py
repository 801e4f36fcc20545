"""A Docker daemon of one's own: its folder, socket and containers are nobody else's, and end with it."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.components.errors import ServiceError

PROGRAMS = ("dockerd", "docker", "debootstrap", "ip", "iptables", "nsenter", "setpriv", "tc")
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


def missing() -> str:
    """What this machine lacks for a cluster of containers; empty if it lacks nothing."""
    if os.geteuid() != 0:
        return "root, who starts Docker's daemon and changes networks"
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(absent)} (Debian: docker.io debootstrap iproute2 iptables util-linux)"
    return ""


def images_folder(repository: Path) -> Path:
    """Where the daemon keeps its images from one start to the next."""
    return Path(os.environ.get("HEADRACE_CLUSTER_TEST") or repository / ".headrace" / "cluster-test")


@dataclass(frozen=True)
class Docker:
    """A client of one daemon."""

    program: str
    socket: Path

    def command(self, *arguments: str) -> list[str]:
        """The command line of a call."""
        return [self.program, "--host", f"unix://{self.socket}", *arguments]

    def __call__(self, *arguments: str, timeout_seconds: float = 120.0) -> str:
        """Standard output of a call; raises ServiceError with what it wrote if it fails."""
        ended = subprocess.run(
            self.command(*arguments),
            env={**os.environ, "DOCKER_BUILDKIT": "1"},  # which Docker 20 does not take by itself
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if ended.returncode != 0:
            last = "\n".join((ended.stdout + ended.stderr).splitlines()[-40:])
            raise ServiceError(f"docker {' '.join(arguments[:2])} ended with {ended.returncode}: {last}")
        return ended.stdout.strip()


@contextmanager
def own_daemon(folder: Path) -> Iterator[Docker]:
    """A daemon whose images stay in `folder`; its containers and networks, and those of one that was killed, do not.

    It gets SIGTERM when this process dies, and changes no rule of the machine's firewall. Raises ServiceError where
    another one uses the folder, or it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runtime = Path(tempfile.mkdtemp(prefix="headrace-docker-"))  # short: paths of its sockets are limited to 107 bytes
    docker = Docker(_client(), runtime / "socket")
    command = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", f"unix://{docker.socket}"]
    command += ["--data-root", str(folder / "docker"), "--exec-root", str(runtime / "run")]
    command += ["--pidfile", str(runtime / "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false"]
    try:
        with (folder / "lock").open("w") as lock, (folder / "dockerd.log").open("w") as log:
            _lock(lock.fileno(), folder)
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                _wait_until_it_answers(docker, daemon, folder / "dockerd.log")
                _remove_all(docker)
                yield docker
            finally:
                _stop(docker, daemon)
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


def _client() -> str:
    """The client that came with the daemon: a newer one on PATH may lack the parts that build images."""
    beside = [Path(str(shutil.which("dockerd"))).with_name("docker"), Path("/usr/bin/docker")]
    return str(next((one for one in beside if one.is_file()), shutil.which("docker")))


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServiceError(f"another cluster uses {folder}; wait for its end") from None


def _wait_until_it_answers(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline_seconds = time.monotonic() + _START_SECONDS
    while daemon.poll() is None and time.monotonic() < deadline_seconds:
        try:
            docker("version")
        except (ServiceError, subprocess.TimeoutExpired):
            time.sleep(0.2)
        else:
            return
    last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
    raise ServiceError(f"dockerd did not start within {_START_SECONDS:.0f} s: {last}")


def _remove_all(docker: Docker) -> None:
    """Remove all containers with their volumes, and all networks."""
    if containers := docker("ps", "--all", "--quiet").split():
        docker("rm", "--force", "--volumes", *containers)
    if networks := docker("network", "ls", "--quiet", "--filter", "type=custom").split():
        docker("network", "rm", *networks)


def _stop(docker: Docker, daemon: subprocess.Popen[bytes]) -> None:
    try:
        if daemon.poll() is None:
            _remove_all(docker)
    finally:
        daemon.terminate()
        try:
            daemon.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
